"""Machines read words one symbol at a time, and many words at once; several machines may read side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .words import PAD_CODE, BoolArray, ByteArray, IntArray, WordBatch, pieces

Register: TypeAlias = npt.NDArray[Any]
State: TypeAlias = tuple[Register, ...]
"""The registers of a machine; the first axis of each register runs over the words."""


_MOST_COMBINATIONS = 1 << 24
"""The largest number of combinations of values of registers whose states are numbered without sorting."""

_NO_NUMBER = -1


class Machine(ABC):
    """A rule, or a language (all its rules side by side), as a machine that reads words symbol by symbol."""

    @abstractmethod
    def start(self, n: int) -> State:
        """Return the state of n empty words."""

    @abstractmethod
    def step(self, state: State, codes: ByteArray) -> State:
        """Return the state after one more symbol of each word.

        Args:
            state: The registers of N words; the method must not change them.
            codes: (N,) uint8 symbol codes. ``PAD_CODE`` does not change the state of a word.
        """

    @abstractmethod
    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the word keeps the rule if it ends here."""

    @abstractmethod
    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the prefix is viable, that is, whether some suffix makes the rule hold."""

    def read(self, words: WordBatch, state: State | None = None, *, to_the_end: bool = False) -> State:
        """Return the state after whole words, read from the start or from another state.

        Args:
            words: N words.
            state: The state before the words; by default, the start.
            to_the_end: Whether to read all symbols. By default, reading stops once no word is viable: whatever follows,
                this machine then neither accepts a word nor finds it viable. A part of the machine, such as one rule of
                a language, may still do so, and needs the whole word.
        """
        columns = np.ascontiguousarray(words.codes.T)
        state = self.start(len(words)) if state is None else state
        for place, codes in enumerate(columns):
            # Only at every eighth symbol, because the check costs about as much as a step.
            if place % 8 == 0 and not to_the_end and not self.alive(state).any():
                break
            state = self.step(state, codes)
        return state


def distinct(registers: State) -> tuple[IntArray, IntArray]:
    """Return the distinct rows of some registers, and which of them each row equals.

    Args:
        registers: Arrays of integers or booleans, each (N,) or (N, W).

    Returns:
        (D,) the index of the first occurrence of each distinct row, with the rows in ascending order (the first
        register is the most significant); and (N,) the position of each row in that order.

    >>> first, place = distinct((np.array([1, 0, 1]), np.array([5, 7, 5])))
    >>> first.tolist(), place.tolist()
    ([1, 0], [1, 0, 1])
    """
    key, size = np.zeros(len(registers[0]), np.int64), 1
    for column in (column for register in registers for column in register.reshape(len(register), -1).T):
        low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
        if high - low < len(column):
            digit, base = column.astype(np.int64) - low, high - low + 1
        else:
            digit = np.unique(column, return_inverse=True)[1]
            base = len(column)
        if size * base >= 1 << 62:
            key, size = np.unique(key, return_inverse=True)[1], len(key)
        key, size = key * base + digit, size * base
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    return first, place


def joined(*parts: Register) -> Register:
    """Return the rows of registers below each other; the digits are padded to the width of the widest register."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, [(0, 0), (0, width - part.shape[1])]) for part in parts])


class Numbering:
    """The numbers of distinct states, in the order in which the states were appended.

    Where all registers are single integers of a small range, a box with one cell for each combination of their values
    holds the numbers. Otherwise, the states are sorted at each call.
    """

    def __init__(self, states: State) -> None:
        self._parts, self.size = [states], len(states[0])
        # The lowest value of each register and the number of its values in the box.
        self._low: list[int] = []
        self._span: list[int] = []
        self._box: npt.NDArray[np.int32] | None = (
            np.zeros(0, np.int32) if all(part.ndim == 1 for part in states) else None
        )

    @property
    def states(self) -> State:
        """The states that have numbers."""
        if len(self._parts) > 1:
            self._parts = [tuple(joined(*registers) for registers in zip(*self._parts, strict=True))]
        return self._parts[0]

    def append(self, states: State) -> None:
        """Add new, distinct states, which `number` has just numbered."""
        self._parts.append(states)
        self.size += len(states[0])

    def number(self, states: State) -> tuple[IntArray, IntArray]:
        """Return (N,) the number of each state, and the first row of each new state.

        New states are numbered in the order of their first rows, from ``size`` on.
        """
        keys = self._keys(states)
        if keys is None or self._box is None:
            return self._sorted(states)
        unknown = np.flatnonzero(self._box[keys] == _NO_NUMBER)
        # Of the rows of a new state, the first one is written last.
        self._box[keys[unknown[::-1]]] = self.size + unknown[::-1]
        new = unknown[self._box[keys[unknown]] == self.size + unknown]
        self._box[keys[new]] = self.size + np.arange(len(new))
        return self._box[keys].astype(np.int64), new

    def _sorted(self, states: State) -> tuple[IntArray, IntArray]:
        merged = tuple(joined(old, new) for old, new in zip(self.states, states, strict=True))
        first, place = distinct(merged)
        new = np.sort(first[first >= self.size])
        number = np.where(first < self.size, first, self.size + np.searchsorted(new, first))
        return number[place[self.size :]], new - self.size

    def _keys(self, states: State) -> IntArray | None:
        """Return (N,) the cell of each state in the box, which grows to include all states; None without a box."""
        if self._box is None or not len(states[0]):
            return None
        ranges = [(int(register.min()), int(register.max())) for register in states]
        if not self._low or any(
            low < least or high >= least + span
            for (low, high), least, span in zip(ranges, self._low, self._span, strict=True)
        ):
            self._enlarge(ranges)
        return None if self._box is None else self._cells(states)

    def _cells(self, states: State) -> IntArray:
        cells = np.zeros(len(states[0]), np.int64)
        for register, least, span in zip(states, self._low, self._span, strict=True):
            cells *= span
            cells += register
            cells -= least
        return cells

    def _enlarge(self, ranges: list[tuple[int, int]]) -> None:
        """Make the box at least twice as wide in each direction in which a state is outside."""
        if not self._low:
            bounds = [(int(register.min()), int(register.max())) for register in self.states]
            self._low, self._span = [low for low, _ in bounds], [high - low + 1 for low, high in bounds]
        for place, (low, high) in enumerate(ranges):
            least, span = self._low[place], self._span[place]
            most = least + span - 1
            if low < least:
                least = min(low, least - span)
            if high > most:
                most = max(high, most + span)
            self._low[place], self._span[place] = least, most - least + 1
        if prod(self._span) > _MOST_COMBINATIONS:
            self._box = None
            return
        self._box = np.full(prod(self._span), _NO_NUMBER, np.int32)
        self._box[self._cells(self.states)] = np.arange(self.size)


def ask(machine: Machine, words: WordBatch, question: str) -> BoolArray:
    """Return (N,) bool: the value of a method, ``"accepts"`` or ``"alive"``, for the state after each word."""
    answer = np.zeros(len(words), np.bool_)
    for rows, piece in pieces(words):
        answer[rows] = getattr(machine, question)(machine.read(piece))
    return answer


class Conjunction(Machine):
    """Several rules that read a word side by side; the registers are those of the rules, one rule after the other."""

    rules: tuple[Machine, ...]

    def __init__(self, rules: Sequence[Machine]) -> None:
        self.rules = tuple(rules)

    def start(self, n: int) -> State:
        """Return the start state of every rule."""
        return tuple(register for rule in self.rules for register in rule.start(n))

    def step(self, state: State, codes: ByteArray) -> State:
        """Let every rule read the symbol."""
        parts = zip(self.rules, self.split(state), strict=True)
        return tuple(register for rule, part in parts for register in rule.step(part, codes))

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether every rule holds."""
        parts = zip(self.rules, self.split(state), strict=True)
        return np.asarray(np.logical_and.reduce([rule.accepts(part) for rule, part in parts]))

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether each rule is viable by itself.

        Rules that are each viable may exclude each other. A `Language` decides whether they are viable together.
        """
        parts = zip(self.rules, self.split(state), strict=True)
        return np.asarray(np.logical_and.reduce([rule.alive(part) for rule, part in parts]))

    def split(self, state: State) -> list[State]:
        """Return the state of each rule, in the order of the rules."""
        parts, first = [], 0
        for rule in self.rules:
            size = len(rule.start(0))
            parts.append(state[first : first + size])
            first += size
        return parts


class NonEmpty(Machine):
    """A conjunction that rejects the empty word; the first register holds whether the word has a symbol."""

    def __init__(self, rules: Conjunction) -> None:
        self.rules = rules

    def start(self, n: int) -> State:
        """Return the state before the first symbol."""
        return (np.zeros(n, np.bool_), *self.rules.start(n))

    def step(self, state: State, codes: ByteArray) -> State:
        """Record that the word has a symbol, and let the rules read it."""
        return (state[0] | (codes != PAD_CODE), *self.rules.step(state[1:], codes))

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the word has a symbol and the rules hold."""
        return np.asarray(state[0] & self.rules.accepts(state[1:]))

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether each rule is viable by itself."""
        return self.rules.alive(state[1:])
