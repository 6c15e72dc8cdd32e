"""Rules about brackets: balanced, and properly nested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .machine import Register, State
from .rules import Rule, combinator
from .symbol_names import plural
from .words import BoolArray, ByteArray, IntArray, WordBatch

_LONG = 4096
"""Symbols above which a word is read on its own by a rule whose state grows."""


@dataclass(frozen=True)
class Balanced(Rule):
    """One kind of bracket is balanced, all else ignored. Register: the depth, -1 once a bracket closed nothing.

    Attributes:
        opening, closing: the two symbols.
        to_the_end: each must be closed by the end of the word; otherwise no bracket may close nothing, and that is all.
    """

    opening: str
    closing: str
    to_the_end: bool = True

    def start(self, n: int) -> State:
        """Depth 0."""
        return (np.zeros(n, np.int32),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Up, down, and once below zero never again."""
        (depth,) = state
        change = (codes == ord(self.opening)).astype(np.int32) - (codes == ord(self.closing))
        return (depth + change * (depth >= 0),)

    def accepts(self, state: State) -> BoolArray:
        """Depth 0, or, where brackets may stay open, any that is not negative."""
        return np.asarray(state[0] == 0 if self.to_the_end else state[0] >= 0)

    def alive(self, state: State) -> BoolArray:
        """No bracket closed nothing."""
        return np.asarray(state[0] >= 0)

    def depth(self, state: State) -> IntArray:
        """How many are open."""
        return np.maximum(state[0], 0).astype(np.int64)


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
        if stack.shape[1] == 1:
            # One digit, as almost always: shift by nothing where nothing is to be done, which no choice can beat.
            up, down = opens.astype(np.uint64) * bits, closes.astype(np.uint64) * bits
            return np.asarray((((stack[:, 0] << up) | (kind * opens)) >> down)[:, None])
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

    def depth(self, state: State) -> IntArray:
        """How many are open."""
        return np.maximum(state[0], 0).astype(np.int64)


@combinator
def balanced(opening: str, closing: str) -> Rule:
    """One kind of bracket is balanced; all other symbols are ignored.

    >>> balanced("[", "]").holds(["[(]", "][", "[["]).tolist()
    [True, False, False]
    >>> balanced("[", "]").viable(["[(]", "][", "[["]).tolist()
    [True, False, True]
    """
    kind = {"(": "parentheses", "[": "brackets", "{": "braces", "<": "angles"}.get(opening, f"{opening}s")
    return Balanced(opening, closing, name=f"balanced_{kind}", summary=f"{opening} {closing} are balanced")


@combinator
def closes_open(opening: str, closing: str) -> Rule:
    """No bracket closes nothing; some may stay open. With as many of both, the word is balanced.

    >>> closes_open("(", ")").holds(["(()", "())("]).tolist()
    [True, False]
    """
    name, summary = f"{plural(closing)}_close_one", f"every {closing} closes an open {opening}"
    return Balanced(opening, closing, False, name=name, summary=summary)


@combinator
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
