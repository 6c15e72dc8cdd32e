"""Rules: predicates on words that are read one symbol at a time, with prefix viability.

A rule is a small machine. It holds a few registers (a counter, a phase, a stack), one array entry a word;
``step`` reads one symbol of every word at once. Whether a whole word keeps the rule (``holds``), whether a prefix
still can (``viable``), and the exact chance that random symbols do (``formal.chance``) all follow from the machine, so
each rule is written once.

The combinators: `equal_counts`, `ordered`, `even_count`, `starts_with`, `balanced`, `nested`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .words import PAD_CODE, BoolArray, ByteArray, WordBatch, Words, pieces

Register: TypeAlias = npt.NDArray[Any]
State: TypeAlias = tuple[Register, ...]
"""A machine's registers; the first axis of each runs over the words."""


_LONG = 4096
"""Symbols above which a word is read on its own by a rule whose state grows."""


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

    def read(self, words: WordBatch, state: State | None = None, *, to_the_end: bool = False) -> State:
        """The state after whole words, from the start or from a given state.

        Once no word is viable any more, the rest is not read, unless it is to be: for this machine such a state is as
        good as any other, since it neither accepts nor is alive whatever follows. (For a part of it, it is not.)
        """
        columns = np.ascontiguousarray(words.codes.T)
        state = self.start(len(words)) if state is None else state
        for place, codes in enumerate(columns):
            # Now and then, because to ask costs about as much as a step.
            if place % 8 == 0 and not to_the_end and not self.alive(state).any():
                break
            state = self.step(state, codes)
        return state


def ask(machine: Machine, words: WordBatch, question: str) -> BoolArray:
    """Read the words and put a question (``"accepts"`` or ``"alive"``) to the final states."""
    answer = np.zeros(len(words), np.bool_)
    for rows, piece in pieces(words):
        answer[rows] = getattr(machine, question)(machine.read(piece))
    return answer


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
        return ask(self, WordBatch.of(words, self.alphabet), "accepts")

    def viable(self, prefixes: Words) -> BoolArray:
        """(N,) bool: can some suffix make the rule hold?

        Raises:
            RuleExtrapError: a symbol outside the alphabet (where the rule belongs to a language).

        >>> ordered("a", "b").viable(["aab", "ba"]).tolist()
        [True, False]
        """
        return ask(self, WordBatch.of(prefixes, self.alphabet), "alive")

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
        """The first phase, 1; or 0 where its symbol must occur."""
        return (np.full(n, 0 if self.leading else 1, np.uint8),)

    def step(self, state: State, codes: ByteArray) -> State:
        """A symbol moves the phase on; one of an earlier phase, or one that skips the leading symbol, is fatal."""
        (phase,) = state
        following = phase
        for i, symbol in enumerate(self.symbols, start=1):
            here = codes == ord(symbol)
            fatal = phase > i
            if self.leading and i > 1:
                fatal |= phase == 0
            # Arithmetic in place of a choice: np.where would take several times as long.
            following = np.maximum(following, here * np.uint8(i))
            following = np.maximum(following, (here & fatal) * np.uint8(self._DEAD))
        return (following,)

    def accepts(self, state: State) -> BoolArray:
        """Nothing fatal was seen and, where the first symbol must occur, it did."""
        return np.asarray((state[0] != self._DEAD) & (state[0] > 0))

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
    """Brackets of several kinds, properly nested.

    Registers: the depth, -1 once fatal; and the stack of kinds as a number of 64-bit digits, (N, W) uint64, the top in
    the lowest bits of the first.
    """

    pairs: tuple[tuple[str, str], ...]

    @property
    def _bits(self) -> int:
        """Bits of the stack that hold one kind."""
        return max(1, (len(self.pairs) - 1).bit_length())

    def start(self, n: int) -> State:
        """Depth 0 and an empty stack."""
        return np.zeros(n, np.int32), np.zeros((n, 1), np.uint64)

    def step(self, state: State, codes: ByteArray) -> State:
        """Push an opening bracket; a closing one must match the top of the stack."""
        depth, stack = state
        if (int(depth.max(initial=0)) + 1) * self._bits > 64 * stack.shape[1]:
            stack = np.pad(stack, ((0, 0), (0, 1)))
        kind = np.zeros(len(codes), np.uint8)
        opens, closes = np.zeros(len(codes), np.bool_), np.zeros(len(codes), np.bool_)
        for i, (opening, closing) in enumerate(self.pairs):
            is_open, is_close = codes == ord(opening), codes == ord(closing)
            kind |= (is_open | is_close) * np.uint8(i)
            opens |= is_open
            closes |= is_close
        top = (stack[:, 0] & np.uint64((1 << self._bits) - 1)).astype(np.uint8)
        fatal = (depth < 0) | (closes & ((depth == 0) | (top != kind)))
        depth = np.where(fatal, np.int32(-1), depth + opens - closes)
        return depth, self._moved(stack, kind, opens, closes)

    def read(self, words: WordBatch, state: State | None = None, *, to_the_end: bool = False) -> State:
        """As for any machine; long words one by one, or the time would grow with the square of their length."""
        if words.codes.shape[1] <= _LONG:
            return super().read(words, state, to_the_end=to_the_end)
        depth, stack = self.start(len(words)) if state is None else state
        ends = [
            self._read_one(word, int(depth[row]), int.from_bytes(stack[row].astype("<u8").tobytes(), "little"))
            for row, word in enumerate(words)
        ]
        digits = max(1, max(-(-top.bit_length() // 64) for _, top in ends))
        packed = b"".join(top.to_bytes(8 * digits, "little") for _, top in ends)
        numbers = np.frombuffer(packed, dtype="<u8").astype(np.uint64)
        return np.array([end for end, _ in ends], np.int32), numbers.reshape(len(words), digits)

    def _read_one(self, word: str, depth: int, stack: int) -> tuple[int, int]:
        """The depth and the stack, as one number, after a word."""
        if depth < 0:
            return -1, 0
        bits = self._bits
        open_kinds = [stack >> bits * place & (1 << bits) - 1 for place in reversed(range(depth))]
        opens = {opening: kind for kind, (opening, _) in enumerate(self.pairs)}
        closes = {closing: kind for kind, (_, closing) in enumerate(self.pairs)}
        for symbol in word:
            if symbol in opens:
                open_kinds.append(opens[symbol])
            elif symbol in closes and (not open_kinds or open_kinds.pop() != closes[symbol]):
                return -1, 0
        written = "".join(format(kind, f"0{bits}b") for kind in open_kinds)
        return len(open_kinds), int(written or "0", 2)

    def _moved(self, stack: Register, kind: ByteArray, opens: BoolArray, closes: BoolArray) -> Register:
        """The stack with the kind pushed where one opens, and the top dropped where one closes."""
        bits, rest = np.uint64(self._bits), np.uint64(64 - self._bits)
        pushed, dropped = stack << bits, stack >> bits
        pushed[:, 1:] |= stack[:, :-1] >> rest
        dropped[:, :-1] |= stack[:, 1:] << rest
        pushed[:, 0] |= kind
        return np.where(opens[:, None], pushed, np.where(closes[:, None], dropped, stack))

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
