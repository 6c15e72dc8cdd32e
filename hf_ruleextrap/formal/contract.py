"""Check that a language keeps the contract of `Language`, and report each violation with its smallest case.

The checks read every string up to a length, so that a mistake shows in the case that is easiest to understand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise, product

import numpy as np

from .language import Language
from .machine import Machine, State, distinct
from .optimal import oracle
from .prompts import PromptSet
from .words import BoolArray, IntArray, WordBatch, symbol_codes

_MOST_STRINGS = 30_000
_LONGEST = 14
_MOST_NODES = 20_000
_MOST_LAYERS = 64
_NEVER = 1 << 30
_DRAWS = 20_000
_MANY = 400
_COMPLETION = 64


_RESTS_ON_VIABILITY = ("probabilities of samples", "prompts", "oracle")


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: The name of the check.
        holds: Whether the language passes the check.
        detail: The cases that were read; for a failed check, the smallest case that fails.
    """

    check: str
    holds: bool
    detail: str


class _Failure(Exception):  # not an error but a finding
    """The smallest case that breaks the contract, as a sentence."""


def check(language: Language) -> list[Finding]:
    """Run all checks of the contract, in the order in which their failures are best fixed.

    The checks compare rules with membership; the viability of each rule and of the language with brute force; samples
    with their probabilities; prompts with their labels; and the completions of the oracle with the shortest ones. The
    function raises no error: an error in the code of the language is a failed check.

    >>> from hf_ruleextrap.languages import get_language
    >>> all(finding.holds for finding in check(get_language("anbn")))
    True
    """
    tree = _Tree(language)
    checks: dict[str, Callable[[], str]] = {"rules and membership": lambda: _membership(language, tree)}
    for i, rule in enumerate(language.rules, start=1):
        checks[f"viability of R{i} ({rule.summary})"] = lambda rule=rule: _viability(rule, tree, rule.holds(tree.words))  # type: ignore[misc]  # bound at once
    checks |= {
        "viability of the language": lambda: _viability(language, tree, language.contains(tree.words)),
        "samples": lambda: _samples(language, tree),
        "probabilities of samples": lambda: _probabilities(language),
        "prompts": lambda: _prompts(language, tree),
        "oracle": lambda: _oracle(language, tree),
    }
    findings: list[Finding] = []
    for name, run in checks.items():
        if name in _RESTS_ON_VIABILITY and any("viability" in f.check and not f.holds for f in findings):
            findings.append(Finding(name, False, "not checked: this check needs the viability, which is wrong"))
        else:
            findings.append(_finding(name, run))
    return findings


def _finding(name: str, run: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, run())
    except _Failure as failure:
        return Finding(name, False, str(failure))
    except Exception as error:  # the code of a language may raise anything
        return Finding(name, False, f"{type(error).__name__}: {' '.join(str(error).split())}")


class _Tree:
    """Every string up to a length, ordered by length: the children of string i are the strings i k + 1 … i k + k."""

    def __init__(self, language: Language) -> None:
        self.alphabet = language.alphabet
        k = len(self.alphabet)
        self.depth = max(
            d for d in range(1, _LONGEST + 1) if d == 1 or sum(k**i for i in range(d + 1)) <= _MOST_STRINGS
        )
        self.starts: list[int] = [sum(k**i for i in range(d)) for d in range(self.depth + 2)]
        self.words = ["".join(word) for d in range(self.depth + 1) for word in product(self.alphabet, repeat=d)]
        self.batch = WordBatch.from_strings(self.words)

    @property
    def size(self) -> str:
        """A phrase that says which strings the tree holds."""
        return f"all {len(self.words):,} strings of up to {self.depth} symbols"

    def level(self, depth: int) -> slice:
        """Return the slice of the strings of one length."""
        return slice(self.starts[depth], self.starts[depth + 1])

    def shortest(self, depth: int) -> int:
        """Return the number of strings of at most ``depth`` symbols."""
        return self.starts[depth + 1]

    def distance(self, good: BoolArray) -> IntArray:
        """Return (S,) int64: the fewest symbols from each string to a good string of the tree, ``_NEVER`` for none."""
        distance = np.where(good, 0, _NEVER)
        for depth in reversed(range(self.depth)):
            here = distance[self.level(depth)]
            children = distance[self.level(depth + 1)].reshape(len(here), -1).min(axis=1)
            distance[self.level(depth)] = np.minimum(here, children + 1)
        return np.minimum(distance, _NEVER)

    def extension(self, good: BoolArray, prefix: str) -> str:
        """Return the first of the shortest good strings that begin with a prefix."""
        return next(self.words[i] for i in np.flatnonzero(good) if self.words[i].startswith(prefix))


def _membership(language: Language, tree: _Tree) -> str:
    holds = {rule.name: rule.holds(tree.words) for rule in language.rules}
    member, every = language.contains(tree.words), np.logical_and.reduce(list(holds.values()))
    every[0] = False
    for i in np.flatnonzero(member != every):
        raise _Failure(f"contains() {'accepts' if member[i] else 'rejects'} {tree.words[i]!r}, but the rules do not")
    # Padding, which a batch with words of several lengths has, must not change a result. A step must not change the
    # state in its argument.
    for rule in language.rules:
        for depth in range(tree.depth + 1):
            part = tree.level(depth)
            alone = rule.holds(WordBatch.from_strings(tree.words[part]))
            for i in np.flatnonzero(alone != holds[rule.name][part]):
                word = tree.words[part][i]
                raise _Failure(f"{rule.name} reads {word!r} differently in a batch with longer words (padding)")
        state = rule.read(tree.batch, to_the_end=True)
        before = [register.copy() for register in state]
        rule.step(state, np.full(len(tree.words), ord(tree.alphabet[0]), np.uint8))
        if not all(map(np.array_equal, state, before)):
            raise _Failure(f"the step of {rule.name} changes the state in its argument: return new arrays")
    listed, expected = list(language.words(tree.depth)), [tree.words[i] for i in np.flatnonzero(member)]
    if listed != expected:
        raise _Failure(f"words() and contains() disagree about {next(iter(set(expected) ^ set(listed)))!r}")
    if not expected:
        raise _Failure(f"no string of up to {tree.depth} symbols keeps all rules")
    return f"{tree.size}, {len(expected):,} of them in the language"


def _viability(machine: Machine, tree: _Tree, good: BoolArray) -> str:
    claimed = machine.alive(machine.read(tree.batch, to_the_end=True))
    distance = tree.distance(good)
    for i in np.flatnonzero(~claimed & (distance < _NEVER)):
        word = tree.extension(good, tree.words[i])
        raise _Failure(f"alive() calls {tree.words[i]!r} not viable, but {word!r} is accepted")
    # An accepted string may be longer than those of the tree. It is searched for after prefixes of half their length.
    far = np.flatnonzero(claimed & (distance == _NEVER))
    for i in far[far < tree.shortest(tree.depth // 2)]:
        longest = _fruitless_length(machine, tree.words[i], tree.alphabet, nonempty=isinstance(machine, Language))
        if longest is not None:
            raise _Failure(
                f"alive() calls {tree.words[i]!r} viable, but no suffix of up to {longest} symbols is accepted"
            )
    return f"{tree.size}, {int(claimed.sum()):,} of them viable"


def _fruitless_length(machine: Machine, prefix: str, alphabet: tuple[str, ...], *, nonempty: bool) -> int | None:
    """Return None if the machine accepts some suffix of a prefix, and otherwise the length up to which all fail."""
    symbols = symbol_codes(alphabet)
    state, walked = machine.read(WordBatch.from_strings([prefix]), to_the_end=True), 0
    for length in range(_MOST_LAYERS):
        if machine.accepts(state).any() and (length or prefix or not nonempty):
            return None
        n = len(state[0])
        wide: State = tuple(register.repeat(len(symbols), axis=0) for register in state)
        after = machine.step(wide, np.tile(symbols, n))
        first = distinct(after)[0]
        first = first[machine.alive(tuple(register[first] for register in after))]
        state = tuple(register[first] for register in after)
        walked += len(first)
        if not len(first) or walked > _MOST_NODES:
            return length + 1
    return _MOST_LAYERS


def _samples(language: Language, tree: _Tree) -> str:
    shortest = next((len(word) for word in language.words(tree.depth)), None)
    if shortest is not None and shortest != language.shortest:
        raise _Failure(f"shortest is {language.shortest}, but the shortest word has {shortest} symbols")
    lengths = sorted({*range(language.shortest, language.shortest + 4), 12, 31, 64})
    for max_length in (length for length in lengths if length >= language.shortest):
        words, again = (language.sample(300, max_length=max_length, rng=np.random.default_rng(0)) for _ in range(2))
        bad = ~language.contains(words) | (words.lengths > max_length)
        for word in sorted(words.take(bad), key=len)[:1]:
            fault = f"longer than max_length {max_length}" if len(word) > max_length else "not in the language"
            raise _Failure(f"sample() drew {word!r}, which is {fault}")
        if list(words) != list(again):
            raise _Failure(
                f"two samples with the same seed differ (max_length {max_length}): use no randomness except rng"
            )
        none = language.sample(0, max_length=max_length, rng=np.random.default_rng(0))
        if len(words) != 300 or len(none):
            raise _Failure(
                f"sample(300) drew {len(words)} words and sample(0) drew {len(none)} (max_length {max_length}): "
                "return n words"
            )
    values = language.parameter_values(words)
    if {name: len(of_words) for name, of_words in values.items()} != dict.fromkeys(language.parameters, 300):
        raise _Failure(
            f"parameters are {list(language.parameters)}, but parameter_values() returned {list(values)}: "
            "return one number for each word and parameter"
        )
    word_lengths = [len(word) for word in language.words(tree.depth)]
    for first, second in pairwise(word_lengths) if language.one_word_per_length else ():
        if first == second:
            raise _Failure(f"one_word_per_length is True, but several words have {first} symbols")
    return f"300 words of at most {', '.join(map(str, lengths))} symbols each"


def _probabilities(language: Language) -> str:
    if language.paper:
        return "not checked: the authors' samplers omit words"
    longest, words = _short_words(language)
    batch = WordBatch.from_strings(words)
    logs = language.log_probability(batch, longest)
    if logs is None:
        return "not checked: log_probability() returned None"
    p = np.exp(logs)
    if abs(p.sum() - 1) > 1e-6:
        raise _Failure(
            f"the probabilities of all {len(words):,} words of up to {longest} symbols sum to {p.sum():.6f}, not to 1"
        )
    drawn = list(language.sample(_DRAWS, max_length=longest, rng=np.random.default_rng(0)))
    counts = dict.fromkeys(words, 0)
    for word in drawn:
        counts[word] += 1
    for word, probability in zip(words, p, strict=True):
        expected = _DRAWS * probability
        # The bound is six standard deviations, plus six draws for rare words.
        if abs(counts[word] - expected) > 6 * np.sqrt(expected) + 6:
            raise _Failure(
                f"{word!r} was drawn {counts[word]:,} times in {_DRAWS:,} draws, but {expected:,.1f} are expected"
            )
    return (
        f"the probabilities of all {len(words):,} words of up to {longest} symbols sum to 1, "
        f"and {_DRAWS:,} draws agree with them"
    )


def _short_words(language: Language) -> tuple[int, list[str]]:
    """Return a length and all words up to it: either a few hundred words, or a length that is large."""
    words: list[str] = []
    for _, of_length in groupby(language.words(language.shortest + 2 * _LONGEST), len):
        words += of_length
        if len(words) > _MANY:
            break
    return len(words[-1]), words


def _prompts(language: Language, tree: _Tree) -> str:
    prompts = language.prompts()
    texts = prompts.texts
    for text in texts:
        if len(text) != language.prompt_length:
            raise _Failure(
                f"the prompt {text!r} has {len(text)} symbols, but prompt_length is {language.prompt_length}"
            )
    if not prompts.in_headline.any():
        raise _Failure(f"no OOD prompt leaves a rule open: {texts[-1]!r} breaks every rule")
    if not prompts.open[prompts.ood, 0].any():
        raise _Failure(
            "no OOD prompt leaves R1 open, which is the rule to be tested: "
            "put the rule that prompts break second, or change candidates()"
        )
    for i in np.flatnonzero(prompts.ood == language.viable(texts)).tolist():
        raise _Failure(f"the prompt {texts[i]!r} is labelled {prompts[i].kind}, but viable() disagrees")
    for column, rule in zip(prompts.open.T, language.rules, strict=True):
        for i in np.flatnonzero(column != rule.viable(texts)).tolist():
            raise _Failure(f"the label of the prompt {texts[i]!r} and the viability of {rule.name} disagree")
    if language.prompt_length <= tree.depth:
        good = language.contains(tree.words)
        reached = dict(zip(tree.words, tree.distance(good) < _NEVER, strict=True))
        for text in (text for text, ood in zip(texts, prompts.ood, strict=True) if ood and reached[text]):
            raise _Failure(
                f"the prompt {text!r} is labelled ood, but {tree.extension(good, text)!r} is in the language"
            )
    counts = f"{int((~prompts.ood).sum()):,} ID, {int(prompts.ood.sum()):,} OOD"
    return f"{counts}, {int(prompts.in_headline.sum()):,} of the OOD prompts leave a rule open"


def _oracle(language: Language, tree: _Tree) -> str:
    count = 0
    for length in _lengths(language):
        prompts = language.prompts(length=length, limit=200, rng=np.random.default_rng(0))
        completions, finished = oracle(language, prompts, max_new_symbols=_COMPLETION)
        words = prompts.words.followed_by(completions)
        member = language.contains(words)
        holds = np.stack([rule.holds(words) for rule in language.rules], axis=1)
        for i, prompt in enumerate(prompts):
            completed = f"the oracle completes {prompt.text!r} with {completions[i]!r}"
            if prompt.kind == "id" and not (finished[i] and member[i]):
                raise _Failure(f"{completed}, which gives no word of the language: check that the prompt is viable")
            first = int(prompts.open[i].argmax())
            if prompt.kind == "ood" and prompt.open and not (finished[i] and holds[i, first]):
                raise _Failure(f"{completed}, which does not keep {language.rules[first].name}, an open rule")
        count += len(prompts)
        _shortest(language, tree, prompts, completions)
    return f"{count:,} prompts completed, each with the fewest possible symbols"


def _lengths(language: Language) -> Iterator[int]:
    """Yield each length below ``prompt_length`` that has ID and OOD prompts, and then ``prompt_length``."""
    for length in range(1, language.prompt_length):
        kinds = language.label(language.candidates(length, np.random.default_rng(0))).ood
        if kinds.any() and not kinds.all():
            yield length
    yield language.prompt_length


def _shortest(language: Language, tree: _Tree, prompts: PromptSet, completions: WordBatch) -> None:
    place = {text: i for i, text in enumerate(tree.words)}
    holds = np.stack([rule.holds(tree.words) for rule in language.rules], axis=1)
    keys = np.column_stack([prompts.ood, prompts.open])
    for key in np.unique(keys, axis=0):
        good = (holds | ~key[1:]).all(axis=1) if key[0] else language.contains(tree.words)
        distance = tree.distance(good)
        for i in np.flatnonzero((keys == key).all(axis=1)).tolist():
            text, completion = prompts.words[i], completions[i]
            if text in place and distance[place[text]] < len(completion):
                raise _Failure(
                    f"the oracle completes {text!r} with {completion!r}, but {distance[place[text]]} symbols suffice"
                )
