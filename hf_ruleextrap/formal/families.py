"""Families of languages: regular languages, blocks of equal length, and marked copies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from .counting import Entropy, uniform_entropy
from .language import Language
from .machine import Conjunction, State
from .rules import Rule, combinator
from .sampling import blocks
from .viability import Finite
from .words import BoolArray, ByteArray, FloatArray, IntArray, WordBatch


class Regular(Language):
    """A language whose viability is computed from its finitely many states.

    Only the states in which each rule is viable count. A single rule may have infinitely many states, such as a counter
    that another rule bounds.
    """

    level = "regular"

    @cached_property
    def _viability(self) -> Finite:
        return Finite(Conjunction(self.rules), self.alphabet)

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether some suffix leads to a word of the language."""
        return self._viability.alive(state)


class EqualBlocks(Language):
    """{ a^n b^n c^n … : n >= 1 } over any alphabet; its rules are `equal_counts` and `ordered` of the symbols."""

    one_word_per_length = True
    parameters = {"n": "the exponent"}  # noqa: RUF012  # never changed

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the prefix is viable.

        It is viable if the symbols are in order, no symbol occurs more often than the first one, and each block before
        the latest one is as long as the first.
        """
        *differences, phase = state
        alive = self.rules[1].alive((phase,))
        for block, difference in enumerate(differences, start=2):
            alive &= (difference >= 0) & ((phase <= block) | (difference == 0))
        return alive

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """Return the log of 1 / (number of exponents) for each word."""
        return np.full(len(words), -np.log(max_length // len(self.alphabet)))

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw the exponent uniformly."""
        exponent = rng.integers(1, max_length // len(self.alphabet), size=n, endpoint=True)
        return blocks(*((symbol, exponent) for symbol in self.alphabet))

    def entropy(self, max_length: int) -> Entropy:
        """Return the entropy of the exponent."""
        lengths = len(self.alphabet) * np.arange(1, max_length // len(self.alphabet) + 1)
        return uniform_entropy(lengths, np.zeros(len(lengths)))

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """Return the exponent: the length divided by the size of the alphabet."""
        return {"n": words.lengths // len(self.alphabet)}


_MISMATCH, _BEFORE = -2, -1


@dataclass(frozen=True)
class Copied(Rule):
    """The symbols after the last mark are a copy, or the reversal, of the symbols before the first mark.

    The registers hold the symbols before the first mark as (N, W) codes; their number; and the number of symbols after
    the latest mark that agree with them. The last register is -1 before the first mark, and -2 after a mismatch.
    """

    mark: str
    reverse: bool = False

    def start(self, n: int) -> State:
        """Return the state before the first symbol."""
        return np.zeros((n, 1), np.uint8), np.zeros(n, np.int32), np.full(n, _BEFORE, np.int32)

    def step(self, state: State, codes: ByteArray) -> State:
        """Store symbols before the first mark and compare symbols after it; each mark restarts the comparison."""
        memory, length, place = state
        marks, symbols = codes == ord(self.mark), (codes != ord(self.mark)) & (codes != 0)
        compared = np.flatnonzero(symbols & (place >= 0))
        new = np.flatnonzero(symbols & (place == _BEFORE))
        if len(new):
            missing = int(length[new].max()) + 1 - memory.shape[1]
            # np.pad copies even without padding, so the state in the argument does not change.
            memory = np.pad(memory, ((0, 0), (0, max(0, missing))))
            memory[new, length[new]] = codes[new]
            length = length + (symbols & (place == _BEFORE))
        expected = length[compared] - 1 - place[compared] if self.reverse else place[compared]
        # Beyond the end of the memory, the check of the length fails, so any valid index serves.
        remembered = memory[compared, np.clip(expected, 0, memory.shape[1] - 1)]
        agrees = (place[compared] < length[compared]) & (remembered == codes[compared])
        following = place.copy()
        following[compared] = np.where(agrees, place[compared] + 1, _MISMATCH)
        following[marks] = 0
        return memory, length, following

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the symbols after the latest mark match all symbols before the first mark."""
        return np.asarray(state[2] == state[1])

    def alive(self, state: State) -> BoolArray:
        """Return True for every state: another mark and the copy make the rule hold."""
        return np.ones(len(state[1]), np.bool_)

    def depth(self, state: State) -> IntArray:
        """Return the number of symbols in memory."""
        return state[1].astype(np.int64)


@combinator
def copied(mark: str, *, reverse: bool = False) -> Rule:
    """Return the rule that the symbols after the last mark are a copy of the symbols before the first mark.

    Args:
        mark: The symbol that separates the word from its copy.
        reverse: Whether the copy is reversed.

    >>> copied("#").holds(["ab#ab", "ab#b", "ab#b#ab", "ab"]).tolist()
    [True, False, True, False]
    >>> copied("#", reverse=True).holds(["ab#ba", "ab#ab"]).tolist()
    [True, False]
    """
    what = "the reversal" if reverse else "a copy"
    summary = f"after the last {mark} stands {what} of what stands before the first {mark}"
    return Copied(mark, reverse, name="reversed" if reverse else "copied", summary=summary)


class Marked(Language):
    """A language of marked copies; its rules are `copied` and `exactly_one`, and its mark is the last symbol."""

    reverse: ClassVar[bool] = False
    shortest = 1
    parameters = {"n": "the length of the copied word"}  # noqa: RUF012  # never changed

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether there is at most one mark and the symbols after it match so far."""
        *_, place, _ = state
        return np.asarray(super().alive(state) & (place != _MISMATCH))

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """Return the log of 1 / (number of lengths) / (number of words of that length)."""
        choices = (words.lengths // 2) * np.log(len(self.alphabet) - 1)
        return np.asarray(-np.log((max_length + 1) // 2) - choices)

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw the length of the copied word uniformly, and then each of its symbols."""
        lengths = rng.integers(0, (max_length - 1) // 2, size=n, endpoint=True)
        *symbols, mark = self.alphabet
        codes = rng.choice(np.frombuffer("".join(symbols).encode(), np.uint8), size=(n, int(lengths.max(initial=0))))
        order = np.tile(np.arange(codes.shape[1]), (n, 1))
        if self.reverse:
            order = np.maximum(lengths[:, None] - 1 - order, 0)
        word, again = (WordBatch.from_codes(part, lengths) for part in (codes, np.take_along_axis(codes, order, 1)))
        return word.followed_by(WordBatch.from_strings([mark] * n)).followed_by(again)

    def entropy(self, max_length: int) -> Entropy:
        """Return the entropy of the length of the copied word plus that of its symbols."""
        copied = np.arange((max_length - 1) // 2 + 1)
        return uniform_entropy(2 * copied + 1, copied * np.log(len(self.alphabet) - 1))

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """Return the length of the copied word."""
        return {"n": words.lengths // 2}
