"""Machines read words one symbol at a time, and many words at once; several machines may read side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .words import PAD_CODE, BoolArray, ByteArray, IntArray, WordBatch, pieces

Register: TypeAlias = npt.NDArray[Any]
State: TypeAlias = tuple[Register, ...]
"""The registers of a machine; the first axis of each register runs over the words."""


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
