"""Rules: predicates on words that are read one symbol at a time, with prefix viability.

A rule is a small machine. It holds a few registers (a counter, a phase, a stack), one array entry a word;
``step`` reads one symbol of every word at once. Whether a whole word keeps the rule (``holds``), whether a prefix
still can (``viable``), and the exact chance that random symbols do (``formal.chance``) all follow from the machine, so
each rule is written once.

The combinators: `equal_counts`, `ordered`, `even_count`, `starts_with`, `balanced`, `nested`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .words import PAD_CODE, BoolArray, ByteArray, WordBatch, Words

Register: TypeAlias = npt.NDArray[Any]
State: TypeAlias = tuple[Register, ...]
"""A machine's registers; the first axis of each runs over the words."""

_ROWS = 1 << 14
"""Words read together: their registers then stay in the processor's cache."""


class Machine(ABC):
    """What reads words symbol by symbol: a rule, or a language (all its rules side by side)."""

    @abstractmethod
    def start(self, n: int) -> State:
        """The state of n empty words."""

    @abstractmethod
    def step(self, state: State, codes: ByteArray) -> State:
        """The state after one more symbol of each word.

        Args:
            state: registers of N words; not changed.
            codes: (N,) uint8 symbol codes. ``PAD_CODE`` leaves a word's state as it is.
        """

    @abstractmethod
    def accepts(self, state: State) -> BoolArray:
        """(N,) bool: does the word, if it ends here, keep the rule?"""

    @abstractmethod
    def alive(self, state: State) -> BoolArray:
        """(N,) bool: can some suffix make it keep the rule?"""

    def read(self, words: WordBatch, state: State | None = None) -> State:
        """The state after whole words, from the start or from a given state."""
        columns = np.ascontiguousarray(words.codes.T)
        state = self.start(len(words)) if state is None else state
        for codes in columns:
            state = self.step(state, codes)
        return state


def chunks(words: WordBatch) -> Iterator[WordBatch]:
    """The batch in pieces of rows that fit the cache; no piece is wider than its longest word."""
    for first in range(0, len(words), _ROWS):
        yield words.take(slice(first, first + _ROWS))


def ask(machine: Machine, words: WordBatch, *questions: str) -> list[BoolArray]:
    """Read the words once and put the named questions (``"accepts"``, ``"alive"``) to the final state."""
    answers: list[list[BoolArray]] = [[np.zeros(0, np.bool_)] for _ in questions]
    for piece in chunks(words):
        state = machine.read(piece)
        for answer, question in zip(answers, questions, strict=True):
            answer.append(getattr(machine, question)(state))
    return [np.concatenate(answer) for answer in answers]


@dataclass(frozen=True)
class Rule(Machine):
    """A predicate on words, with its prefix viability.

    Attributes:
        name: identifier, e.g. ``"as_equal_bs"``; unique in its language.
        summary: the rule as a sentence, e.g. ``"as many a as b"``.
        alphabet: the symbols of the language that the rule belongs to; None for a rule on its own.
        on_completion: how the rule reads a completion alone, where that is not as it reads a word.
    """

    _: KW_ONLY
    name: str = ""
    summary: str = ""
    alphabet: tuple[str, ...] | None = None
    on_completion: Rule | None = None

    def holds(self, words: Words) -> BoolArray:
        """(N,) bool: does the rule hold for each whole word?

        Raises:
            RuleExtrapError: a symbol outside the alphabet (where the rule belongs to a language).

        >>> equal_counts("a", "b").holds(["ab", "aab", ""]).tolist()
        [True, False, True]
        """
        return ask(self, WordBatch.of(words, self.alphabet), "accepts")[0]

    def viable(self, prefixes: Words) -> BoolArray:
        """(N,) bool: can some suffix make the rule hold?

        Raises:
            RuleExtrapError: a symbol outside the alphabet (where the rule belongs to a language).

        >>> ordered("a", "b").viable(["aab", "ba"]).tolist()
        [True, False]
        """
        return ask(self, WordBatch.of(prefixes, self.alphabet), "alive")[0]

    def of_language(self, alphabet: tuple[str, ...]) -> Rule:
        """The same rule, as part of a language over this alphabet."""
        return replace(self, alphabet=alphabet)

    @property
    def for_completion(self) -> Rule:
        """The rule by which a completion alone is read."""
        return self.on_completion or self


@dataclass(frozen=True)
class EqualCounts(Rule):
    """As many of each symbol. Registers: the count of the first symbol less that of each other one."""

    symbols: tuple[str, ...]

    def start(self, n: int) -> State:
        """All differences are 0."""
        return tuple(np.zeros(n, np.int32) for _ in self.symbols[1:])

    def step(self, state: State, codes: ByteArray) -> State:
        """Count."""
        first = codes == ord(self.symbols[0])
        pairs = zip(state, self.symbols[1:], strict=True)
        return tuple(d + first - (codes == ord(symbol)) for d, symbol in pairs)

    def accepts(self, state: State) -> BoolArray:
        """Every difference is 0."""
        return np.asarray(np.logical_and.reduce([d == 0 for d in state]))

    def alive(self, state: State) -> BoolArray:
        """Always: the symbols that lack can be added."""
        return np.ones(len(state[0]), np.bool_)


@dataclass(frozen=True)
class Ordered(Rule):
    """Every symbol before all of the later ones. Register: the phase (index of the latest kind of symbol)."""

    symbols: tuple[str, ...]
    leading: bool = False

    _DEAD = 127

    def start(self, n: int) -> State:
        """The first phase; or, where the first symbol must occur, the one before it."""
        return (np.full(n, -1 if self.leading else 0, np.int8),)

    def step(self, state: State, codes: ByteArray) -> State:
        """A symbol moves the phase on; one of an earlier phase, or one that skips the leading symbol, is fatal."""
        (phase,) = state
        place = np.full(256, -1, np.int8)
        place[[ord(s) for s in self.symbols]] = np.arange(len(self.symbols))
        here = place[codes]
        fatal = here < phase
        if self.leading:
            fatal |= (phase < 0) & (here > 0)
        return (np.where(here < 0, phase, np.where(fatal, np.int8(self._DEAD), here)),)

    def accepts(self, state: State) -> BoolArray:
        """Nothing fatal was seen and, where the first symbol must occur, it did."""
        return np.asarray((state[0] != self._DEAD) & (state[0] >= 0))

    def alive(self, state: State) -> BoolArray:
        """Nothing fatal was seen."""
        return np.asarray(state[0] != self._DEAD)


@dataclass(frozen=True)
class EvenCount(Rule):
    """An even number of a symbol, counted anew after each ``since``. Register: the parity."""

    symbol: str
    since: str | None = None

    def start(self, n: int) -> State:
        """None is even."""
        return (np.zeros(n, np.bool_),)

    def step(self, state: State, codes: ByteArray) -> State:
        """The symbol flips the parity, ``since`` clears it."""
        odd = state[0] ^ (codes == ord(self.symbol))
        return (odd if self.since is None else odd & (codes != ord(self.since)),)

    def accepts(self, state: State) -> BoolArray:
        """The parity is even."""
        return ~state[0]

    def alive(self, state: State) -> BoolArray:
        """Always: one more symbol mends it."""
        return np.ones(len(state[0]), np.bool_)


@dataclass(frozen=True)
class StartsWith(Rule):
    """The first symbol is this one. Register: 0 nothing read, 1 it was, 2 it was another."""

    symbol: str

    def start(self, n: int) -> State:
        """Nothing read."""
        return (np.zeros(n, np.int8),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Only the first symbol counts."""
        first = (state[0] == 0) & (codes != PAD_CODE)
        return (np.where(first, np.where(codes == ord(self.symbol), np.int8(1), np.int8(2)), state[0]),)

    def accepts(self, state: State) -> BoolArray:
        """The first symbol was the right one."""
        return np.asarray(state[0] == 1)

    def alive(self, state: State) -> BoolArray:
        """The first symbol was not another one."""
        return np.asarray(state[0] != 2)


@dataclass(frozen=True)
class Balanced(Rule):
    """One kind of bracket is balanced, all else ignored. Register: the depth, -1 once a bracket closed nothing."""

    opening: str
    closing: str

    def start(self, n: int) -> State:
        """Depth 0."""
        return (np.zeros(n, np.int32),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Up, down, and once below zero never again."""
        (depth,) = state
        change = (codes == ord(self.opening)).astype(np.int32) - (codes == ord(self.closing))
        return (depth + change * (depth >= 0),)

    def accepts(self, state: State) -> BoolArray:
        """Depth 0."""
        return np.asarray(state[0] == 0)

    def alive(self, state: State) -> BoolArray:
        """No bracket closed nothing."""
        return np.asarray(state[0] >= 0)


@dataclass(frozen=True)
class Nested(Rule):
    """Brackets of several kinds, properly nested. Registers: the depth (-1 once fatal) and the stack of kinds."""

    pairs: tuple[tuple[str, str], ...]

    def start(self, n: int) -> State:
        """Depth 0 and an empty stack."""
        return np.zeros(n, np.int64), np.zeros((n, 8), np.uint8)

    def step(self, state: State, codes: ByteArray) -> State:
        """Push an opening bracket; a closing one must match the top of the stack."""
        depth, stack = state[0].copy(), state[1].copy()
        if depth.max(initial=0) == stack.shape[1]:
            stack = np.pad(stack, ((0, 0), (0, stack.shape[1])))
        rows = np.arange(len(depth))
        top = np.where(depth > 0, stack[rows, np.maximum(depth - 1, 0)], 0)
        opens, closes = np.zeros_like(codes, np.bool_), np.zeros_like(codes, np.bool_)
        fatal = np.zeros_like(opens)
        for opening, closing in self.pairs:
            opens |= codes == ord(opening)
            closes |= codes == ord(closing)
            fatal |= (codes == ord(closing)) & (top != ord(opening))
        push = opens & (depth >= 0)
        stack[rows[push], depth[push]] = codes[push]
        depth += push.astype(np.int64) - (closes & (depth > 0))
        depth[fatal] = -1
        return depth, stack

    def accepts(self, state: State) -> BoolArray:
        """Nothing fatal was seen and the stack is empty."""
        return np.asarray(state[0] == 0)

    def alive(self, state: State) -> BoolArray:
        """Nothing fatal was seen."""
        return np.asarray(state[0] >= 0)


class Conjunction(Machine):
    """Several rules side by side; its registers are theirs, one rule after the other."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    def start(self, n: int) -> State:
        """Every rule's start."""
        return tuple(register for rule in self.rules for register in rule.start(n))

    def step(self, state: State, codes: ByteArray) -> State:
        """Every rule reads the symbol."""
        parts = zip(self.rules, self.split(state), strict=True)
        return tuple(register for rule, part in parts for register in rule.step(part, codes))

    def accepts(self, state: State) -> BoolArray:
        """(N,) bool: does every rule hold?"""
        parts = zip(self.rules, self.split(state), strict=True)
        return np.asarray(np.logical_and.reduce([rule.accepts(part) for rule, part in parts]))

    def alive(self, state: State) -> BoolArray:
        """(N,) bool: is each rule viable on its own? A language knows whether that suffices."""
        parts = zip(self.rules, self.split(state), strict=True)
        return np.asarray(np.logical_and.reduce([rule.alive(part) for rule, part in parts]))

    def split(self, state: State) -> list[State]:
        """The state of each rule, in order."""
        parts, first = [], 0
        for rule in self.rules:
            size = len(rule.start(0))
            parts.append(state[first : first + size])
            first += size
        return parts


def equal_counts(*symbols: str) -> Rule:
    """As many of each symbol as of every other.

    >>> equal_counts("a", "b", "c").holds(["abc", "aabcc"]).tolist()
    [True, False]
    """
    name = "_equal_".join(f"{s}s" for s in symbols)
    return EqualCounts(symbols, name=name, summary="as many " + " as ".join(symbols))


def ordered(*symbols: str, leading: bool = False) -> Rule:
    """Every ``symbols[0]`` before every ``symbols[1]``, and so on; what does not occur is in order.

    Args:
        symbols: the symbols in their order.
        leading: the first symbol must occur, too.

    >>> ordered("b", "a").holds(["bba", "ab", "aa"]).tolist()
    [True, False, True]
    >>> ordered("b", "a", leading=True).holds(["bba", "ab", "aa"]).tolist()
    [True, False, False]
    """
    sentence = " before ".join(f"every {s}" for s in symbols)
    if leading:
        sentence += f", and at least one {symbols[0]}"
    name = "_before_".join(f"{s}s" for s in symbols)
    return Ordered(symbols, leading, name=name, summary=sentence)


def even_count(symbol: str, *, since: str | None = None) -> Rule:
    """An even number of a symbol, in the whole word or after the last ``since``.

    >>> even_count("a").holds(["baba", "a"]).tolist()
    [True, False]
    >>> even_count("a", since="b").holds(["abaa", "aab", "ba"]).tolist()
    [True, True, False]
    """
    if since is None:
        return EvenCount(symbol, name=f"even_{symbol}s", summary=f"an even number of {symbol}")
    return EvenCount(
        symbol,
        since,
        name=f"even_{symbol}s_after_{since}s",
        summary=f"an even number of {symbol} after the last {since}",
    )


def starts_with(symbol: str) -> Rule:
    """The word starts with a symbol.

    >>> starts_with("b").holds(["ba", "ab", ""]).tolist(), starts_with("b").viable([""]).tolist()
    ([True, False, False], [True])
    """
    return StartsWith(symbol, name=f"starts_with_{symbol}", summary=f"starts with {symbol}")


def balanced(opening: str, closing: str) -> Rule:
    """One kind of bracket is balanced; all other symbols are ignored.

    >>> balanced("[", "]").holds(["[(]", "][", "[["]).tolist()
    [True, False, False]
    >>> balanced("[", "]").viable(["[(]", "][", "[["]).tolist()
    [True, False, True]
    """
    kind = {"(": "parentheses", "[": "brackets", "{": "braces", "<": "angles"}.get(opening, f"{opening}s")
    return Balanced(opening, closing, name=f"balanced_{kind}", summary=f"{opening} {closing} are balanced")


def nested(*pairs: str) -> Rule:
    """Brackets of all the kinds are closed in the reverse order of their opening (a Dyck word).

    Args:
        pairs: each an opening and its closing symbol, e.g. ``"()"``.

    >>> nested("()", "[]").holds(["([])", "([)]"]).tolist()
    [True, False]
    """
    kinds = tuple((pair[0], pair[1]) for pair in pairs)
    shown = " and ".join(f"{opening} {closing}" for opening, closing in kinds)
    return Nested(kinds, name="properly_nested", summary=f"{shown} are properly nested")
