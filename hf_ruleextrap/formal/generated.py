"""Rule-extrapolation problems without end: two rules drawn at random over a random alphabet, and the proof of them.

What is drawn depends on the level and the seed alone, on no random number generator of a library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from itertools import count, product
from typing import Any, ClassVar, TypeVar, cast

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError, unknown

from .automata import ends_with
from .brackets import Balanced, balanced
from .conjunction import Conjunction
from .expectation import headline_chance
from .finite import at_least, at_most, count_mod, has_factor, length_mod, no_factor
from .graph import explore
from .language import Language
from .machine import State
from .optimal import oracle
from .prompts import PromptSet
from .rules import EqualCounts, Rule, equal_counts, even_count, ordered, starts_with
from .sources import uniform
from .viability import Finite, OneCounter, leaves_counts_free
from .words import BoolArray, WordBatch

T = TypeVar("T")

PREFIX = "random-"
"""What the names of generated languages begin with."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PROMPT_LENGTH = {2: 8, 3: 6, 4: 5}
_LONGEST = {2: 12, 3: 8, 4: 6}

_FEWEST_WORDS, _FEWEST_PROMPTS = 64, 8
_PATIENCE = 16
"""Symbols after which a viable prefix has become a word, at the lengths that are checked."""

_MOST_CHANCE, _LEAST_MARGIN = 0.75, 0.2
"""The largest chance, and the smallest distance of chance from the ceiling, over a problem's OOD prompts."""

_COMPLETION_LIMIT = 64
"""Most symbols in a completion where chance and ceiling are computed."""

_NAME = re.compile(rf"{PREFIX}(regular|context-free|context-sensitive)-(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Proof:
    """What was found when all strings up to a length were read.

    Attributes:
        longest: that length.
        both, only_r1, only_r2: how many of the strings (the empty one not counted) keep both rules, one, the other.
        id_prompts, ood_prompts: how many prompts there are; each OOD prompt breaks R2 and leaves R1 open.
        chance: the probability, over the OOD prompts, that random symbols end within 64 and keep R1; exact.
        ceiling: the share of the OOD prompts after which some completion of at most 64 symbols keeps R1.
        attempts: pairs of rules that were drawn until all held.
    """

    longest: int
    both: int
    only_r1: int
    only_r2: int
    id_prompts: int
    ood_prompts: int
    chance: float
    ceiling: float
    attempts: int


class GeneratedLanguage(Language):
    """A language whose rules were drawn, `random_conjunction`'s.

    Attributes:
        seed: of the draw.
        proof: what was counted.
    """

    seed: ClassVar[int]
    proof: ClassVar[Proof]

    @cached_property
    def _viability(self) -> Callable[[State], BoolArray] | None:
        return _joint_viability(self)

    def alive(self, state: State) -> BoolArray:
        """Exact, see `random_conjunction`."""
        return super().alive(state) if self._viability is None else self._viability(state)

    def candidates(self, length: int, rng: np.random.Generator) -> list[str]:
        """All ID strings, and the OOD ones that break R2 and leave R1 open."""
        return _prompts(self, super().candidates(length, rng))

    def __reduce__(self) -> tuple[Any, ...]:
        # The class is made when it is asked for, so it has no place from which it could be imported.
        return generated_language, (self.name, self.paper)


def random_conjunction(seed: int, level: str = "regular") -> GeneratedLanguage:
    """Generate a language of two random rules over a random alphabet of two to four letters.

    The same seed and level give the same language, in every process. Pairs of rules are drawn until, over all strings
    up to a length (12 symbols for two letters, 8 for three, 6 for four),

    * at least 64 words of at most 12 symbols keep both rules;
    * neither rule implies the other: each is kept by a string that breaks the other;
    * there are 8 ID and 8 OOD prompts or more of the language's length, where every OOD prompt breaks R2 and
      leaves R1 open;
    * over its OOD prompts chance is at most 0.75 and at least 0.2 below the ceiling, both computed exactly for
      completions of at most 64 symbols: else most completions, or all, would keep R1 whatever the model does;
    * the graph of the language's states has just the words that the rules have, and is viable where a word follows.

    The level is right by construction:

    * ``"regular"``: both rules have finitely many states, and so has their product.
    * ``"context-free"``: one rule has one counter (as many of one letter as of another, or the two balanced like
      brackets), the other n states. So it is deterministic context-free. It is not regular: some viable
      prefix has a counter of n^2 or more, so the argument of `OneCounter` gives a word x u y v z for which all
      x u^i y v^i z are words, and the prefixes x u^i, whose counters differ, are told apart by their suffixes.
    * ``"context-sensitive"``: either as many of three letters, beside a rule with finitely many states that
      `leaves_counts_free`. Or two rules with a counter that share at most one letter. On letters of their own, their
      words among a* c* b* d* are those a^n c^m b^n d^m; with one letter shared, those among x* y* z*, where the
      letters are in an order that both allow, are x^n y^n z^n; neither set is context-free. Counters no larger
      than the word decide all of them, so linear space suffices.

    Viability is exact for words of any length: by `Finite`, by `OneCounter`, and at the third level since there it
    suffices that each rule is viable alone. (Two rules with a counter: close what is open, adding before that of
    another opening letter where one closing letter serves both. Then add the letter that lacks, in a pair of brackets
    where it is one.) The sampler is the default one: lengths uniform, then words.

    Args:
        seed: 0 or more.
        level: ``"regular"``, ``"context-free"`` (or ``"deterministic context-free"``, which these are) or
            ``"context-sensitive"``.

    Raises:
        RuleExtrapError: another level, or a negative seed.

    >>> lang = random_conjunction(7)
    >>> lang.name, lang.level, lang.contains(lang.sample(3, max_length=9, rng=np.random.default_rng(0))).all()
    ('random-regular-7', 'regular', np.True_)
    """
    kind = next((kind for kind, found in _LEVEL_OF.items() if found == level), level)
    if kind not in _DRAWS:
        raise unknown("level", level, _DRAWS)
    if seed < 0:
        raise RuleExtrapError(f"seed is {seed}: give 0 or more")
    return _generate(kind, int(seed))()


def generated_language(name: str, paper: bool = False) -> GeneratedLanguage:
    """The language of a name that `random_conjunction` gives.

    Args:
        name: e.g. ``"random-regular-7"``.
        paper: as for any language; it changes nothing.

    Raises:
        RuleExtrapError: another name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise RuleExtrapError(
            f"{name!r} names no generated language: give e.g. random-regular-7, or another level "
            f"({', '.join(_DRAWS)}) or seed"
        )
    return _generate(match[1], int(match[2]))(paper=paper)


class _Dice:
    """Choices that depend on a text alone."""

    def __init__(self, text: str) -> None:
        self.text, self.thrown = text, count()

    def below(self, n: int) -> int:
        digest = sha256(f"{self.text}/{next(self.thrown)}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % n

    def one(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def some(self, options: Sequence[T], n: int) -> list[T]:
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(n)]


def _finite_rule(dice: _Dice, alphabet: tuple[str, ...]) -> Rule:
    """A rule with finitely many states."""
    symbol, other = dice.some(alphabet, 2)
    modulus = 2 + dice.below(3)
    draws: list[Callable[[], Rule]] = [
        lambda: count_mod(symbol, modulus, dice.below(modulus)),
        lambda: length_mod(modulus, dice.below(modulus)),
        lambda: even_count(symbol, since=other),
        lambda: starts_with(symbol),
        lambda: ends_with(symbol),
        lambda: at_most(symbol, 1 + dice.below(3)),
        lambda: at_least(symbol, 1 + dice.below(3)),
        lambda: no_factor("".join(dice.one(alphabet) for _ in range(2 + dice.below(2)))),
        lambda: has_factor("".join(dice.one(alphabet) for _ in range(2 + dice.below(2)))),
        lambda: ordered(*dice.some(alphabet, 2 + dice.below(len(alphabet) - 1))),
    ]
    return dice.one(draws)()


def _counter_rule(dice: _Dice, symbols: Sequence[str]) -> Rule:
    """A rule with one counter, on two of the symbols."""
    first, second = dice.some(symbols, 2)
    return equal_counts(first, second) if dice.below(2) else balanced(first, second)


def _regular(dice: _Dice) -> tuple[tuple[str, ...], list[Rule]]:
    alphabet = _alphabet(dice, 2 + dice.below(3))
    return alphabet, [_finite_rule(dice, alphabet), _finite_rule(dice, alphabet)]


def _context_free(dice: _Dice) -> tuple[tuple[str, ...], list[Rule]]:
    alphabet = _alphabet(dice, 2 + dice.below(3))
    return alphabet, dice.some([_counter_rule(dice, alphabet), _finite_rule(dice, alphabet)], 2)


def _context_sensitive(dice: _Dice) -> tuple[tuple[str, ...], list[Rule]]:
    alphabet = _alphabet(dice, 3 + dice.below(2))
    if dice.below(3) == 0:
        return alphabet, [_counter_rule(dice, alphabet), _counter_rule(dice, alphabet)]
    return alphabet, dice.some([equal_counts(*dice.some(alphabet, 3)), _finite_rule(dice, alphabet)], 2)


def _alphabet(dice: _Dice, size: int) -> tuple[str, ...]:
    return tuple(sorted(dice.some(_LETTERS, size)))


_LEVEL_OF = {"context-free": "deterministic context-free"}
_DRAWS = {"regular": _regular, "context-free": _context_free, "context-sensitive": _context_sensitive}


@lru_cache(maxsize=256)
def _generate(kind: str, seed: int) -> type[GeneratedLanguage]:
    """Draw until the proof holds."""
    name = f"{PREFIX}{kind}-{seed}"
    dice = _Dice(name)
    for attempt in count(1):
        alphabet, rules = _DRAWS[kind](dice)
        if rules[0].name == rules[1].name:
            continue
        attributes = {
            "name": name,
            "summary": " and ".join(rule.summary for rule in rules),
            "level": _LEVEL_OF.get(kind, kind),
            "alphabet": alphabet,
            "rules": tuple(rules),
            "prompt_length": _PROMPT_LENGTH[len(alphabet)],
            "paper_train_size": 15_000,
            "seed": seed,
        }
        made = cast("type[GeneratedLanguage]", type(_class_name(name), (GeneratedLanguage,), attributes))
        proof = _prove(made(), attempt)
        if proof is not None:
            made.proof, made.__doc__ = proof, _docstring(made(), proof)
            return made
    raise AssertionError


def _class_name(name: str) -> str:
    return "".join(map(str.capitalize, name.split("-")))


def _counted(rule: Rule) -> set[str]:
    """The symbols that a rule has counters for, one less than symbols."""
    if isinstance(rule, EqualCounts):
        return set(rule.symbols)
    return {rule.opening, rule.closing} if isinstance(rule, Balanced) else set()


def _counters(rule: Rule) -> int:
    """How many counters a rule has."""
    return max(0, len(_counted(rule)) - 1)


def _joint_viability(language: Language) -> Callable[[State], BoolArray] | None:
    """What decides whether all rules can still be kept; None where it suffices that each can.

    Raises:
        RuleExtrapError: no word keeps them all.
    """
    counters = list(map(_counters, language.rules))
    if sum(counters) == 0:
        return Finite(Conjunction(language.rules), language.alphabet).alive
    if sum(counters) > 1:
        return None
    i = counters.index(1)
    joint = OneCounter(language.rules[i], language.rules[1 - i], language.alphabet)

    def alive(state: State) -> BoolArray:
        parts = language.split(state)
        return joint.alive(parts[i], parts[1 - i])

    return alive


def _has_its_level(language: GeneratedLanguage) -> bool:
    """Whether the level's construction applies; see `random_conjunction`."""
    counters = list(map(_counters, language.rules))
    if language.level == "regular":
        return True
    if language.level == "context-sensitive":
        if min(counters) > 0:
            return len(_counted(language.rules[0]) & _counted(language.rules[1])) < 2
        i = counters.index(2)
        return leaves_counts_free(language.rules[i], language.rules[1 - i], language.alphabet)
    i = counters.index(1)
    n = len(explore(language.rules[1 - i], language.alphabet))
    viable = explore(language, language.alphabet, 4 * n * n)
    return bool(np.abs(language.split(viable.states)[i][0]).max() >= n * n)


def _prove(language: GeneratedLanguage, attempt: int) -> Proof | None:
    """Read all strings up to a length; None where these rules do not do."""
    alphabet = language.alphabet
    try:
        if not _has_its_level(language) or sum(language.word_counts(12).exact()[1:]) < _FEWEST_WORDS:
            return None
    except RuleExtrapError:
        return None
    longest = _LONGEST[len(alphabet)]
    strings = WordBatch.from_strings(["".join(w) for n in range(1, longest + 1) for w in product(alphabet, repeat=n)])
    first, second = (rule.holds(strings) for rule in language.rules)
    both, only_r1, only_r2 = (int(kept.sum()) for kept in (first & second, first & ~second, second & ~first))
    prompts = language.label(language.candidates(language.prompt_length, np.random.default_rng(0)))
    inside, outside = len(prompts.of_kind("id")), len(prompts.of_kind("ood"))
    if not both or not only_r1 or not only_r2 or min(inside, outside) < _FEWEST_PROMPTS:
        return None
    chance, ceiling = _difficulty(language, prompts.of_kind("ood"))
    if chance > _MOST_CHANCE or ceiling - chance < _LEAST_MARGIN:
        return None
    _check_states(language, strings, first & second, longest)
    return Proof(longest, both, only_r1, only_r2, inside, outside, chance, ceiling, attempt)


def _difficulty(language: GeneratedLanguage, prompts: PromptSet) -> tuple[float, float]:
    """Chance and ceiling of OOD prompts that leave R1 open."""
    chance = headline_chance(language, prompts, uniform(language), max_new_symbols=_COMPLETION_LIMIT)
    _, kept = oracle(language, prompts, max_new_symbols=_COMPLETION_LIMIT)
    return chance, float(kept.mean())


def _check_states(language: GeneratedLanguage, strings: WordBatch, kept: BoolArray, longest: int) -> None:
    """That the graph of the language's states and its viability say what all strings say; else this is a defect."""
    found = np.bincount(strings.lengths[kept], minlength=longest + 1).tolist()
    assert language.word_counts(longest).exact()[1:] == found[1:], language.name
    viable = set(strings.take(language.viable(strings)))
    needed = {word[:n] for word in strings.take(kept) for n in range(1, longest + 1)}
    assert needed <= viable, language.name
    graph = explore(language, language.alphabet, longest + _PATIENCE)
    assert (graph.distance[graph.depth <= longest] >= 0).all(), language.name


def _prompts(language: Language, strings: list[str]) -> list[str]:
    """Those that are ID, or that break R2 and leave R1 open."""
    labelled = language.label(strings)
    return labelled.take(~labelled.ood | (labelled.open[:, 0] & ~labelled.open[:, 1])).texts


def _docstring(language: GeneratedLanguage, proof: Proof) -> str:
    shown = ", ".join(f"``{word}``" for word in list(language.words(proof.longest))[:3])
    return f"""{language.summary.capitalize()}: two rules drawn at random.

    In the language: {shown}. Of the strings of 1 to {proof.longest} symbols, {proof.both} keep both rules,
    {proof.only_r1} R1 alone and {proof.only_r2} R2 alone.

    Sampler: the length uniform among those that words have, then each word of it alike. Prompts: all strings of a
    length that are ID, or that break R2 and leave R1 open ({language.prompt_length}: {proof.id_prompts} ID,
    {proof.ood_prompts} OOD). Random completions keep R1 after {proof.chance:.2f} of the OOD prompts.

    Source: ``random_conjunction({language.seed}, {language.level!r})``.
    """
