"""Does a language keep the contract of `Language`? Each way to break it is reported with the smallest case.

Everything is asked of every string up to a length, so that a mistake shows where it is easiest to understand.
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
    """One thing that was checked.

    Attributes:
        check: what was asked.
        holds: whether it is so.
        detail: what was looked at; where it does not hold, the smallest case in which it does not.
    """

    check: str
    holds: bool
    detail: str


class _Failure(Exception):  # not an error but a finding
    """The smallest case that breaks the contract, as a sentence."""


def check(language: Language) -> list[Finding]:
    """The whole contract, in the order in which its failures are best mended.

    Rules and membership; the viability of each rule and of the language against brute force; samples
    and their probabilities; prompts and their labels; the oracle's completions. Nothing is raised: whatever goes wrong
    in the language's own code is a finding, too.

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
    for what, work in checks.items():
        if what in _RESTS_ON_VIABILITY and any("viability" in f.check and not f.holds for f in findings):
            findings.append(Finding(what, False, "not looked at before the viability holds, on which it rests"))
        else:
            findings.append(_finding(what, work))
    return findings


def _finding(what: str, work: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, work())
    except _Failure as failure:
        return Finding(what, False, str(failure))
    except Exception as error:  # the language is a stranger's code
        return Finding(what, False, f"{type(error).__name__}: {' '.join(str(error).split())}")


class _Tree:
    """Every string up to a length, the shortest first: the children of string i are strings i k + 1 … i k + k."""

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
        """What was looked at."""
        return f"all {len(self.words):,} strings of up to {self.depth} symbols"

    def level(self, depth: int) -> slice:
        """The places of the strings of a length."""
        return slice(self.starts[depth], self.starts[depth + 1])

    def shortest(self, depth: int) -> int:
        """How many strings have at most so many symbols."""
        return self.starts[depth + 1]

    def distance(self, good: BoolArray) -> IntArray:
        """(S,) int64: the fewest further symbols that lead to a good string of the tree; ``_NEVER`` if none do."""
        distance = np.where(good, 0, _NEVER)
        for depth in reversed(range(self.depth)):
            here = distance[self.level(depth)]
            children = distance[self.level(depth + 1)].reshape(len(here), -1).min(axis=1)
            distance[self.level(depth)] = np.minimum(here, children + 1)
        return np.minimum(distance, _NEVER)

    def extension(self, good: BoolArray, prefix: str) -> str:
        """The first of the shortest good strings that begin with a prefix."""
        return next(self.words[i] for i in np.flatnonzero(good) if self.words[i].startswith(prefix))


def _membership(language: Language, tree: _Tree) -> str:
    holds = {rule.name: rule.holds(tree.words) for rule in language.rules}
    member, every = language.contains(tree.words), np.logical_and.reduce(list(holds.values()))
    every[0] = False
    for i in np.flatnonzero(member != every):
        raise _Failure(f"{tree.words[i]!r} {'is' if member[i] else 'is not'} in it, but the rules say otherwise")
    # Words of several lengths in one batch are padded, which must change nothing; nor may a step change its state.
    for rule in language.rules:
        for depth in range(tree.depth + 1):
            part = tree.level(depth)
            alone = rule.holds(WordBatch.from_strings(tree.words[part]))
            for i in np.flatnonzero(alone != holds[rule.name][part]):
                word = tree.words[part][i]
                raise _Failure(f"{rule.name} tells {word!r} otherwise when longer words stand beside it (padding)")
        state = rule.read(tree.batch, to_the_end=True)
        before = [register.copy() for register in state]
        rule.step(state, np.full(len(tree.words), ord(tree.alphabet[0]), np.uint8))
        if not all(map(np.array_equal, state, before)):
            raise _Failure(f"{rule.name} changes the state that its step is given: return new arrays")
    found, expected = list(language.words(tree.depth)), [tree.words[i] for i in np.flatnonzero(member)]
    if found != expected:
        raise _Failure(f"words() lacks {next(iter(set(expected) ^ set(found)))!r}, or has it too much")
    if not expected:
        raise _Failure(f"no string of up to {tree.depth} symbols keeps all rules")
    return f"{tree.size}, {len(expected):,} of them in the language"


def _viability(machine: Machine, tree: _Tree, good: BoolArray) -> str:
    claimed = machine.alive(machine.read(tree.batch, to_the_end=True))
    distance = tree.distance(good)
    for i in np.flatnonzero(~claimed & (distance < _NEVER)):
        word = tree.extension(good, tree.words[i])
        raise _Failure(f"{tree.words[i]!r} is said to be beyond repair, but {word!r} is good")
    # What the tree does not show may be farther away; of prefixes half as long, it is looked for.
    far = np.flatnonzero(claimed & (distance == _NEVER))
    for i in far[far < tree.shortest(tree.depth // 2)]:
        looked = _looked_for(machine, tree.words[i], tree.alphabet, nonempty=isinstance(machine, Language))
        if looked is not None:
            raise _Failure(
                f"{tree.words[i]!r} is said to be viable, but no suffix of up to {looked} symbols makes it good"
            )
    return f"{tree.size}, {int(claimed.sum()):,} of them viable"


def _looked_for(machine: Machine, prefix: str, alphabet: tuple[str, ...], *, nonempty: bool) -> int | None:
    """None where some suffix is good; else how long the suffixes were that were tried."""
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
            where = f"longer than max_length {max_length}" if len(word) > max_length else "not in the language"
            raise _Failure(f"sample gave {word!r}, which is {where}")
        if list(words) != list(again):
            raise _Failure(f"two samples with one seed differ (max_length {max_length}): draw from the given rng alone")
        if len(words) != 300 or len(language.sample(0, max_length=max_length, rng=np.random.default_rng(0))):
            raise _Failure(
                f"asked for 300 words and for none, sample gave {len(words)} and some (max_length {max_length})"
            )
    values = language.parameter_values(words)
    if {name: len(of_words) for name, of_words in values.items()} != dict.fromkeys(language.parameters, 300):
        raise _Failure(
            f"parameters are {list(language.parameters)}, parameter_values gives {list(values)}: one number a word"
        )
    lengths_of = [len(word) for word in language.words(tree.depth)]
    for first, second in pairwise(lengths_of) if language.one_word_per_length else ():
        if first == second:
            raise _Failure(f"one_word_per_length is stated, but there are several words of {first} symbols")
    return f"300 words of at most {', '.join(map(str, lengths))} symbols each"


def _probabilities(language: Language) -> str:
    if language.paper:
        return "not asked: the authors' samplers leave words out"
    longest, words = _few(language)
    batch = WordBatch.from_strings(words)
    logs = language.log_probability(batch, longest)
    if logs is None:
        return "log_probability is not given"
    p = np.exp(logs)
    if abs(p.sum() - 1) > 1e-6:
        raise _Failure(f"over all {len(words):,} words of up to {longest} symbols they sum to {p.sum():.6f}, not to 1")
    drawn = list(language.sample(_DRAWS, max_length=longest, rng=np.random.default_rng(0)))
    counts = dict.fromkeys(words, 0)
    for word in drawn:
        counts[word] += 1
    for word, probability in zip(words, p, strict=True):
        expected = _DRAWS * probability
        # Six standard deviations, and a few for what is rare.
        if abs(counts[word] - expected) > 6 * np.sqrt(expected) + 6:
            raise _Failure(
                f"{word!r} was drawn {counts[word]:,} times of {_DRAWS:,}, where {expected:,.1f} are expected"
            )
    return f"sum to 1 over all {len(words):,} words of up to {longest} symbols, and {_DRAWS:,} draws agree"


def _few(language: Language) -> tuple[int, list[str]]:
    """All words up to a length, at which there are a few hundred of them or which is long."""
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
            raise _Failure(f"the prompt {text!r} has {len(text)} symbols, prompt_length is {language.prompt_length}")
    if not prompts.asked.any():
        raise _Failure(f"no OOD prompt leaves a rule open: {texts[-1]!r} breaks all")
    if not prompts.open[prompts.ood, 0].any():
        raise _Failure(
            "no OOD prompt leaves R1 open, the rule to be tested: put the other one first, or see candidates"
        )
    for i in np.flatnonzero(prompts.ood == language.viable(texts)).tolist():
        raise _Failure(f"the prompt {texts[i]!r} is labelled {prompts[i].kind}, and viable() says otherwise")
    for column, rule in zip(prompts.open.T, language.rules, strict=True):
        for i in np.flatnonzero(column != rule.viable(texts)).tolist():
            raise _Failure(f"the prompt {texts[i]!r} is labelled wrong about {rule.name}")
    if language.prompt_length <= tree.depth:
        good = language.contains(tree.words)
        reached = dict(zip(tree.words, tree.distance(good) < _NEVER, strict=True))
        for text in (text for text, ood in zip(texts, prompts.ood, strict=True) if ood and reached[text]):
            raise _Failure(
                f"the prompt {text!r} is labelled ood, but {tree.extension(good, text)!r} is in the language"
            )
    counts = f"{int((~prompts.ood).sum()):,} ID, {int(prompts.ood.sum()):,} OOD"
    return f"{counts}, {int(prompts.asked.sum()):,} of these with an open rule"


def _oracle(language: Language, tree: _Tree) -> str:
    count = 0
    for length in _lengths(language):
        prompts = language.prompts(length=length, limit=200, rng=np.random.default_rng(0))
        completions, finished = oracle(language, prompts, max_new_symbols=_COMPLETION)
        words = prompts.words.followed_by(completions)
        member = language.contains(words)
        holds = np.stack([rule.holds(words) for rule in language.rules], axis=1)
        for i, prompt in enumerate(prompts):
            said = f"after {prompt.text!r} the oracle gave {completions[i]!r}"
            if prompt.kind == "id" and not (finished[i] and member[i]):
                raise _Failure(f"{said}: not a word of the language (is the prompt viable?)")
            first = int(prompts.open[i].argmax())
            if prompt.kind == "ood" and prompt.open and not (finished[i] and holds[i, first]):
                raise _Failure(f"{said}: {language.rules[first].name} is open and does not hold")
        count += len(prompts)
        _shortest(language, tree, prompts, completions)
    return f"{count:,} prompts completed, none by more symbols than it takes"


def _lengths(language: Language) -> Iterator[int]:
    """Short prompts, where there are both kinds of them, and those of the usual length."""
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
                    f"after {text!r} the oracle gave {completion!r}, where {distance[place[text]]} symbols do"
                )
