"""What reads words one symbol at a time, many words at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .words import BoolArray, ByteArray, IntArray, WordBatch, pieces

Register: TypeAlias = npt.NDArray[Any]
State: TypeAlias = tuple[Register, ...]
"""A machine's registers; the first axis of each runs over the words."""


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


def distinct(registers: State) -> tuple[IntArray, IntArray]:
    """Which rows of some registers are alike.

    Args:
        registers: each (N,) or (N, W) integers or booleans.

    Returns:
        For each of the D distinct rows, in ascending order (the first register counts most), where it first stands,
        (D,); and which of these each row is, (N,).

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
    """Read the words and put a question (``"accepts"`` or ``"alive"``) to the final states."""
    answer = np.zeros(len(words), np.bool_)
    for rows, piece in pieces(words):
        answer[rows] = getattr(machine, question)(machine.read(piece))
    return answer
