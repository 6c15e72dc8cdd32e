"""A word, a mark, and the word again: as it was, or reversed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .entropy import Entropy, uniform_entropy
from .language import Language
from .machine import State
from .rules import Rule, combinator
from .words import BoolArray, ByteArray, FloatArray, IntArray, WordBatch

_MISMATCH, _BEFORE = -2, -1


@dataclass(frozen=True)
class Copied(Rule):
    """What stands after the last mark is what stands before the first one, or its reversal.

    Registers: what stands before the first mark, as (N, W) codes; its length; and how many symbols after the latest
    mark agree with it, -1 before the first mark and -2 once one does not.
    """

    mark: str
    reverse: bool = False

    def start(self, n: int) -> State:
        """Nothing was read."""
        return np.zeros((n, 1), np.uint8), np.zeros(n, np.int32), np.full(n, _BEFORE, np.int32)

    def step(self, state: State, codes: ByteArray) -> State:
        """Before the first mark remember, after it compare; a mark begins the comparison anew."""
        memory, length, place = state
        marks, symbols = codes == ord(self.mark), (codes != ord(self.mark)) & (codes != 0)
        compared = np.flatnonzero(symbols & (place >= 0))
        new = np.flatnonzero(symbols & (place == _BEFORE))
        if len(new):
            missing = int(length[new].max()) + 1 - memory.shape[1]
            # A copy, in any case: the state that was given must not change.
            memory = np.pad(memory, ((0, 0), (0, max(0, missing))))
            memory[new, length[new]] = codes[new]
            length = length + (symbols & (place == _BEFORE))
        expected = length[compared] - 1 - place[compared] if self.reverse else place[compared]
        # Beyond the end of the memory, the comparison fails by its length; the place to look at is any.
        found = memory[compared, np.clip(expected, 0, memory.shape[1] - 1)]
        agrees = (place[compared] < length[compared]) & (found == codes[compared])
        following = place.copy()
        following[compared] = np.where(agrees, place[compared] + 1, _MISMATCH)
        following[marks] = 0
        return memory, length, following

    def accepts(self, state: State) -> BoolArray:
        """As many symbols agree as stand before the first mark."""
        return np.asarray(state[2] == state[1])

    def alive(self, state: State) -> BoolArray:
        """Always: one more mark, and the word."""
        return np.ones(len(state[1]), np.bool_)

    def depth(self, state: State) -> IntArray:
        """How much is remembered."""
        return state[1].astype(np.int64)


@combinator
def copied(mark: str, *, reverse: bool = False) -> Rule:
    """What stands after the last mark is what stands before the first one.

    Args:
        mark: the mark.
        reverse: it is read backwards.

    >>> copied("#").holds(["ab#ab", "ab#b", "ab#b#ab", "ab"]).tolist()
    [True, False, True, False]
    >>> copied("#", reverse=True).holds(["ab#ba", "ab#ab"]).tolist()
    [True, False]
    """
    what = "the reversal" if reverse else "a copy"
    summary = f"after the last {mark} stands {what} of what stands before the first {mark}"
    return Copied(mark, reverse, name="reversed" if reverse else "copied", summary=summary)


class Marked(Language):
    """A word, a mark (the last symbol), and the word again; its rules are `copied` and then `exactly_one`."""

    reverse: ClassVar[bool] = False
    shortest = 1
    parameters = {"n": "the length of the copied word"}  # noqa: RUF012  # never changed

    def alive(self, state: State) -> BoolArray:
        """At most one mark, and what follows it agrees so far."""
        *_, place, _ = state
        return np.asarray(super().alive(state) & (place != _MISMATCH))

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """One over the number of lengths, times one over the number of words of that length."""
        choices = (words.lengths // 2) * np.log(len(self.alphabet) - 1)
        return np.asarray(-np.log((max_length + 1) // 2) - choices)

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """The length of the copied word is uniform, and so is each of its symbols."""
        lengths = rng.integers(0, (max_length - 1) // 2, size=n, endpoint=True)
        *symbols, mark = self.alphabet
        codes = rng.choice(np.frombuffer("".join(symbols).encode(), np.uint8), size=(n, int(lengths.max(initial=0))))
        order = np.tile(np.arange(codes.shape[1]), (n, 1))
        if self.reverse:
            order = np.maximum(lengths[:, None] - 1 - order, 0)
        word, again = (WordBatch.from_codes(part, lengths) for part in (codes, np.take_along_axis(codes, order, 1)))
        return word.followed_by(WordBatch.from_strings([mark] * n)).followed_by(again)

    def entropy(self, max_length: int) -> Entropy:
        """Of the length of the copied word, and of each of its symbols."""
        copied = np.arange((max_length - 1) // 2 + 1)
        return uniform_entropy(2 * copied + 1, copied * np.log(len(self.alphabet) - 1))

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """Half of what is left without the mark."""
        return {"n": words.lengths // 2}
