"""Languages whose words are one block of each symbol, all of one length."""

from __future__ import annotations

import numpy as np

from .entropy import Entropy, uniform_entropy
from .language import Language
from .machine import State
from .sampling import blocks
from .words import BoolArray, FloatArray, IntArray, WordBatch


class EqualBlocks(Language):
    """{ a^n b^n c^n … : n >= 1 } over any alphabet; its rules are `equal_counts` and then `ordered` of the symbols."""

    one_word_per_length = True
    parameters = {"n": "the exponent"}  # noqa: RUF012  # never changed

    def alive(self, state: State) -> BoolArray:
        """In order, no symbol more often than the first, and each block before the latest as long as the first."""
        *differences, phase = state
        alive = self.rules[1].alive((phase,))
        for block, difference in enumerate(differences, start=2):
            alive &= (difference >= 0) & ((phase <= block) | (difference == 0))
        return alive

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """One over the number of exponents."""
        return np.full(len(words), -np.log(max_length // len(self.alphabet)))

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """The exponent is uniform."""
        exponent = rng.integers(1, max_length // len(self.alphabet), size=n, endpoint=True)
        return blocks(*((symbol, exponent) for symbol in self.alphabet))

    def entropy(self, max_length: int) -> Entropy:
        """Of the exponent."""
        lengths = len(self.alphabet) * np.arange(1, max_length // len(self.alphabet) + 1)
        return uniform_entropy(lengths, np.zeros(len(lengths)))

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """The length over the number of symbols."""
        return {"n": words.lengths // len(self.alphabet)}
