"""Languages whose words consist of one block of each symbol, all blocks of the same length."""

from __future__ import annotations

import numpy as np

from .entropy import Entropy, uniform_entropy
from .language import Language
from .machine import State
from .sampling import blocks
from .words import BoolArray, FloatArray, IntArray, WordBatch


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
