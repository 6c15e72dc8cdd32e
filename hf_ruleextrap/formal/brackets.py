"""Rules about brackets: balanced, and properly nested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .machine import Register, State
from .rules import Rule, combinator, plural
from .words import BoolArray, ByteArray, IntArray, WordBatch

_LONG = 4096
"""The length above which a rule whose state grows reads each word separately."""


@dataclass(frozen=True)
class Balanced(Rule):
    """One kind of bracket is balanced; all other symbols are ignored.

    The register holds the depth: the number of open brackets, or -1 after a closing bracket without an open one.

    Attributes:
        opening, closing: The two symbols.
        to_the_end: Whether every bracket must be closed by the end of the word. If not, the rule only demands that
            every closing bracket closes an open one.
    """

    opening: str
    closing: str
    to_the_end: bool = True

    def start(self, n: int) -> State:
        """Return depth 0."""
        return (np.zeros(n, np.int32),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Raise or lower the depth; a negative depth stays negative."""
        (depth,) = state
        change = (codes == ord(self.opening)).astype(np.int32) - (codes == ord(self.closing))
        return (depth + change * (depth >= 0),)

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the depth is 0, or not negative where brackets may stay open."""
        return np.asarray(state[0] == 0 if self.to_the_end else state[0] >= 0)

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether every closing bracket has closed an open one."""
        return np.asarray(state[0] >= 0)

    def depth(self, state: State) -> IntArray:
        """Return the number of open brackets."""
        return np.maximum(state[0], 0).astype(np.int64)


@dataclass(frozen=True)
class Nested(Rule):
    """Brackets of several kinds, properly nested.

    The first register holds the depth, or -1 after a bracket that breaks the rule. The second register holds the stack
    of kinds as a number with 64-bit digits, (N, W) uint64; the top of the stack is in the lowest bits of the first one.
    """

    pairs: tuple[tuple[str, str], ...]

    @property
    def _bits(self) -> int:
        """The number of bits of the stack that hold one kind."""
        return max(1, (len(self.pairs) - 1).bit_length())

    def start(self, n: int) -> State:
        """Return depth 0 and an empty stack."""
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
        """Read words as `Machine.read` does, but long words one by one.

        In a batch, the time for long words would grow with the square of their length.
        """
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
        """Return the depth, and the stack as one number, after a word."""
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
        digits = "".join(format(kind, f"0{bits}b") for kind in open_kinds)
        return len(open_kinds), int(digits or "0", 2)

    def _moved(self, stack: Register, kind: ByteArray, opens: BoolArray, closes: BoolArray) -> Register:
        """Push the kind where a bracket opens, and pop the stack where a bracket closes."""
        bits, rest = np.uint64(self._bits), np.uint64(64 - self._bits)
        if stack.shape[1] == 1:
            # The common case is one digit. A shift by 0 bits where nothing opens or closes is faster than np.where.
            up, down = opens.astype(np.uint64) * bits, closes.astype(np.uint64) * bits
            return np.asarray((((stack[:, 0] << up) | (kind * opens)) >> down)[:, None])
        pushed, dropped = stack << bits, stack >> bits
        pushed[:, 1:] |= stack[:, :-1] >> rest
        dropped[:, :-1] |= stack[:, 1:] << rest
        pushed[:, 0] |= kind
        return np.where(opens[:, None], pushed, np.where(closes[:, None], dropped, stack))

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the brackets are nested and all of them are closed."""
        return np.asarray(state[0] == 0)

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the brackets are nested so far."""
        return np.asarray(state[0] >= 0)

    def depth(self, state: State) -> IntArray:
        """Return the number of open brackets."""
        return np.maximum(state[0], 0).astype(np.int64)


@combinator
def balanced(opening: str, closing: str) -> Rule:
    """Return the rule that one kind of bracket is balanced; all other symbols are ignored.

    >>> balanced("[", "]").holds(["[(]", "][", "[["]).tolist()
    [True, False, False]
    >>> balanced("[", "]").viable(["[(]", "][", "[["]).tolist()
    [True, False, True]
    """
    kind = {"(": "parentheses", "[": "brackets", "{": "braces", "<": "angles"}.get(opening, f"{opening}s")
    return Balanced(opening, closing, name=f"balanced_{kind}", summary=f"{opening} {closing} are balanced")


@combinator
def closes_open(opening: str, closing: str) -> Rule:
    """Return the rule that every closing bracket closes an open one; brackets may stay open at the end.

    A word that keeps this rule and has as many opening as closing brackets is balanced.

    >>> closes_open("(", ")").holds(["(()", "())("]).tolist()
    [True, False]
    """
    name, summary = f"{plural(closing)}_close_one", f"every {closing} closes an open {opening}"
    return Balanced(opening, closing, False, name=name, summary=summary)


@combinator
def nested(*pairs: str) -> Rule:
    """Return the rule that brackets of several kinds are closed in the reverse order of their opening (a Dyck word).

    Args:
        pairs: For each kind, the opening and the closing symbol, e.g. ``"()"``.

    >>> nested("()", "[]").holds(["([])", "([)]"]).tolist()
    [True, False]
    """
    kinds = tuple((pair[0], pair[1]) for pair in pairs)
    shown = " and ".join(f"{opening} {closing}" for opening, closing in kinds)
    return Nested(kinds, name="properly_nested", summary=f"{shown} are properly nested")
