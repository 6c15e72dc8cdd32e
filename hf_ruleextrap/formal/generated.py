"""Generated languages: two rules drawn at random over a random alphabet, with a proof that they pose a problem.

The level and the seed alone determine a language; no library's random number generator takes part.
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

from .automata import at_least, at_most, count_mod, ends_with, has_factor, length_mod, no_factor
from .brackets import Balanced, balanced
from .expectation import headline_chance
from .graph import explore
from .language import Language
from .machine import Conjunction, State
from .optimal import oracle
from .rules import EqualCounts, Rule, equal_counts, even_count, ordered, starts_with
from .sources import uniform
from .viability import Finite, OneCounter, leaves_counts_free
from .words import BoolArray, WordBatch

T = TypeVar("T")

PREFIX = "random-"
"""The beginning of the name of every generated language."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PROMPT_LENGTH = {2: 8, 3: 6, 4: 5}
_LONGEST = {2: 12, 3: 8, 4: 6}

_FEWEST_WORDS, _FEWEST_PROMPTS = 64, 8
_PATIENCE = 16
"""The number of symbols that complete any viable prefix of a checked length to a word."""

_MOST_CHANCE, _LEAST_MARGIN = 0.75, 0.2
"""The highest chance on the OOD prompts of a language, and the smallest distance of chance from the ceiling."""

_COMPLETION_LIMIT = 64
"""The largest number of symbols in a completion, for chance and ceiling."""

_NAME = re.compile(rf"{PREFIX}(regular|context-free|context-sensitive)-(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Proof:
    """The numbers that show that a pair of rules poses a rule-extrapolation problem.

    Attributes:
        longest: The length of the longest strings that were read; all shorter strings were read, too.
        both, only_r1, only_r2: The numbers of these strings that keep both rules, only R1, and only R2. The empty
            string does not count.
        id_prompts, ood_prompts: The numbers of prompts; each OOD prompt breaks R2 and leaves R1 open.
        chance: The exact probability that random symbols end within 64 symbols and keep R1, over the OOD prompts.
        ceiling: The share of the OOD prompts after which some completion of at most 64 symbols keeps R1.
        attempts: The number of pairs of rules that were drawn, the accepted pair included.
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
    """A language that `random_conjunction` generates.

    Attributes:
        seed: The random seed for drawing the rules.
        proof: The numbers that show that the rules pose a problem.
    """

    seed: ClassVar[int]
    proof: ClassVar[Proof]

    @cached_property
    def _viability(self) -> Callable[[State], BoolArray] | None:
        return _joint_viability(self)

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the prefix is viable; `random_conjunction` says why this is exact."""
        return super().alive(state) if self._viability is None else self._viability(state)

    def candidates(self, length: int, rng: np.random.Generator) -> list[str]:
        """Return all ID strings of a length, and the OOD strings that break R2 and leave R1 open."""
        strings = self.label(super().candidates(length, rng))
        return strings.take(~strings.ood | (strings.open[:, 0] & ~strings.open[:, 1])).texts

    def __reduce__(self) -> tuple[Any, ...]:
        # The class is created at run time, so pickle cannot import it.
        return generated_language, (self.name, self.paper)


def random_conjunction(seed: int, level: str = "regular") -> GeneratedLanguage:
    """Generate a language of two random rules over a random alphabet of two to four letters.

    The same seed and level give the same language in every process. Pairs of rules are drawn until the following
    conditions hold for all strings up to a length (12 symbols for two letters, 8 for three, 6 for four):

    * at least 64 words of at most 12 symbols keep both rules;
    * neither rule implies the other: each is kept by a string that breaks the other;
    * at the language's prompt length, there are at least 8 ID prompts and 8 OOD prompts, and every OOD prompt breaks
      R2 and leaves R1 open;
    * on the OOD prompts, chance is at most 0.75 and at least 0.2 below the ceiling, both computed exactly for
      completions of at most 64 symbols; otherwise most completions would keep R1 whatever the model does;
    * the graph of the language's states accepts exactly the words that keep both rules, and a prefix of any of these
      words is viable.

    The level is right by construction:

    * ``"regular"``: both rules have finitely many states, and so has their product.
    * ``"context-free"``: one rule has one counter (two letters occur equally often, or are balanced like brackets), and
      the other rule has n states. So the language is deterministic context-free. It is not regular: some viable
      prefix has a counter of n^2 or more, so the argument of `OneCounter` gives a word x u y v z for which all
      x u^i y v^i z are words. The prefixes x u^i have different counters and therefore different sets of suffixes.
    * ``"context-sensitive"``: one rule says that three letters occur equally often, and the other has finitely many
      states and `leaves_counts_free`. Or both rules have a counter and share at most one letter. If they share no
      letter, the words in a* c* b* d* are a^n c^m b^n d^m. If they share one, the words in x* y* z*, for an order of
      the letters that both rules allow, are x^n y^n z^n. Neither set is context-free. Counters that are no larger than
      the word decide every rule, so linear space suffices.

    Viability is exact for words of any length. `Finite` and `OneCounter` decide it at the first two levels. At the
    third level a prefix is viable if it is viable for each rule: with two counters, a suffix first closes all open
    brackets (where both rules have the same closing letter, after opening letters of the other rule), and then adds
    the missing letters, in pairs where they are brackets. The sampler is the default one: the length is uniform, and
    then the word.

    Args:
        seed: The random seed, 0 or more.
        level: ``"regular"``, ``"context-free"`` (the same as ``"deterministic context-free"``) or
            ``"context-sensitive"``.

    Raises:
        RuleExtrapError: If the level is unknown, or the seed is negative.

    >>> lang = random_conjunction(7)
    >>> lang.name, lang.level, lang.contains(lang.sample(3, max_length=9, rng=np.random.default_rng(0))).all()
    ('random-regular-7', 'regular', np.True_)
    """
    kind = next((kind for kind, name in _LEVEL_OF.items() if name == level), level)
    if kind not in _DRAWS:
        raise unknown("level", level, _DRAWS)
    if seed < 0:
        raise RuleExtrapError(f"seed is {seed}: give 0 or more")
    return _generate(kind, int(seed))()


def generated_language(name: str, paper: bool = False) -> GeneratedLanguage:
    """Return the generated language with a name.

    Args:
        name: The name, e.g. ``"random-regular-7"``.
        paper: See `Language`; it has no effect on a generated language.

    Raises:
        RuleExtrapError: If the name is not that of a generated language.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise RuleExtrapError(
            f"{name!r} names no generated language: give e.g. random-regular-7, or another level "
            f"({', '.join(_DRAWS)}) or seed"
        )
    return _generate(match[1], int(match[2]))(paper=paper)


class _Dice:
    """Random choices that a text determines."""

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
    """Return a random rule with finitely many states."""
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
    """Return a random rule with one counter, on two of the symbols."""
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
    """Draw pairs of rules until one passes `_prove`."""
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
        class_name = "".join(map(str.capitalize, name.split("-")))
        language = cast("type[GeneratedLanguage]", type(class_name, (GeneratedLanguage,), attributes))
        proof = _prove(language(), attempt)
        if proof is not None:
            language.proof, language.__doc__ = proof, _docstring(language(), proof)
            return language
    raise AssertionError


def _counted(rule: Rule) -> set[str]:
    """Return the symbols that a rule counts."""
    if isinstance(rule, EqualCounts):
        return set(rule.symbols)
    return {rule.opening, rule.closing} if isinstance(rule, Balanced) else set()


def _counters(rule: Rule) -> int:
    """Return the number of counters of a rule: one less than the symbols that it counts."""
    return max(0, len(_counted(rule)) - 1)


def _joint_viability(language: Language) -> Callable[[State], BoolArray] | None:
    """Return the function that decides viability; None if a prefix is viable wherever it is viable for each rule.

    Raises:
        RuleExtrapError: If no word keeps all rules.
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
    """Return whether the argument for the level in `random_conjunction` applies."""
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
    """Return the proof for a pair of rules; None if a condition of `random_conjunction` does not hold."""
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
    ood = prompts.of_kind("ood")
    chance = headline_chance(language, ood, uniform(language), max_new_symbols=_COMPLETION_LIMIT)
    ceiling = float(oracle(language, ood, max_new_symbols=_COMPLETION_LIMIT)[1].mean())
    if chance > _MOST_CHANCE or ceiling - chance < _LEAST_MARGIN:
        return None
    _check_states(language, strings, first & second, longest)
    return Proof(longest, both, only_r1, only_r2, inside, outside, chance, ceiling, attempt)


def _check_states(language: GeneratedLanguage, strings: WordBatch, kept: BoolArray, longest: int) -> None:
    """Assert that the graph of states and the viability of the language agree with an enumeration of all strings."""
    words_of_length = np.bincount(strings.lengths[kept], minlength=longest + 1).tolist()
    assert language.word_counts(longest).exact()[1:] == words_of_length[1:], language.name
    viable = set(strings.take(language.viable(strings)))
    needed = {word[:n] for word in strings.take(kept) for n in range(1, longest + 1)}
    assert needed <= viable, language.name
    graph = explore(language, language.alphabet, longest + _PATIENCE)
    assert (graph.distance[graph.depth <= longest] >= 0).all(), language.name


def _docstring(language: GeneratedLanguage, proof: Proof) -> str:
    shown = ", ".join(f"``{word}``" for word in list(language.words(proof.longest))[:3])
    return f"""{language.summary.capitalize()}: two rules drawn at random.

    In the language: {shown}. Of the strings of 1 to {proof.longest} symbols, {proof.both} keep both rules,
    {proof.only_r1} R1 alone and {proof.only_r2} R2 alone.

    Sampler: the length is uniform among the lengths of words, and then the word. Prompts: all strings of a length that
    are ID, or that break R2 and leave R1 open ({language.prompt_length}: {proof.id_prompts} ID,
    {proof.ood_prompts} OOD). Random completions keep R1 after {proof.chance:.2f} of the OOD prompts.

    Source: ``random_conjunction({language.seed}, {language.level!r})``.
    """


_CONTEXT_SENSITIVE = """
0 1 2 5 6 7 9 11 15 16 18 21 22 24 30 33 37 40 41 43 55 59 71 80 98 108 118 123 133 139 144 153 154
"""
_SEEDS: dict[str, tuple[int, ...]] = {
    "regular": (*range(26), *range(27, 35)),
    "context-free": (*range(9), *range(10, 26), 27, 28, 30, 33, 34, 37, 38, 39),
    "context-sensitive": tuple(map(int, _CONTEXT_SENSITIVE.split())),
}


def suite() -> list[GeneratedLanguage]:
    """Return the hundred languages: 34 regular, 33 context-free and 33 context-sensitive ones.

    Each level has its first seeds. A seed is left out if its rules agree with the rules of a smaller seed on all
    strings of up to five symbols, up to a renaming of the letters.

    >>> len([language for language in suite() if language.level == "regular"])
    34
    """
    return [random_conjunction(seed, level) for level, seeds in _SEEDS.items() for seed in seeds]
