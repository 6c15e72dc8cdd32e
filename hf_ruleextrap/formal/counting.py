"""Count the words of each length of a language, and draw words uniformly from the words of a length."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from hf_ruleextrap.errors import RuleExtrapError

from .graph import Graph
from .words import FloatArray, IntArray, WordBatch, symbol_codes

_MOST_NUMBERS = 1 << 24
_ZERO = -(1 << 30)
"""The exponent of the number 0; it is smaller than any other exponent."""


@dataclass(frozen=True, eq=False)
class WordCounts:
    """The number of words that can be reached from each state of a graph with a given number of further symbols.

    Each number is stored as m 2^e with 1/2 <= m < 1 (m = 0 for the number 0). So numbers up to 2^53 are exact, larger
    numbers have a relative error near 2^-53, and no number overflows. No logarithm is involved, so the words that are
    drawn are the same on every processor.

    Attributes:
        graph: A graph with a length limit, L.
        mantissa: (L + 1, S) float64, m by the number of further symbols and by state.
        exponent: (L + 1, S) int32, e.
    """

    graph: Graph
    mantissa: FloatArray
    exponent: npt.NDArray[np.int32]

    @classmethod
    def of(cls, graph: Graph) -> WordCounts:
        """Count the words of a graph, from their ends backwards.

        Raises:
            RuleExtrapError: The product of lengths and states is too large.
        """
        assert graph.max_length is not None
        size = graph.max_length + 1
        if size * len(graph) > _MOST_NUMBERS:
            raise RuleExtrapError(
                f"words of {graph.max_length} symbols lead to {len(graph)} states, too many to count them exactly: "
                "give a smaller max_length, or define draw and log_probability in the language"
            )
        # The last column stands for NOWHERE, from which no word is reached.
        mantissa, exponent = np.zeros((size, len(graph) + 1)), np.full((size, len(graph) + 1), _ZERO, np.int32)
        mantissa[0, :-1], exponent[0, :-1] = np.where(graph.accepting, 0.5, 0), np.where(graph.accepting, 1, _ZERO)
        for more in range(1, size):
            m, e = mantissa[more - 1][graph.following], exponent[more - 1][graph.following]
            top = e.max(axis=1)
            total, shift = np.frexp(np.ldexp(m, e - top[:, None]).sum(axis=1))
            mantissa[more, :-1], exponent[more, :-1] = total, np.where(total > 0, top + shift, _ZERO)
        return cls(graph, mantissa, exponent)

    @property
    def lengths(self) -> IntArray:
        """The lengths, from 1 on, for which words exist."""
        return np.flatnonzero(self.mantissa[1:, 0]) + 1

    def log(self, lengths: IntArray) -> FloatArray:
        """Return (N,) float64: the natural logarithm of the number of words of each length, -inf for no words."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.mantissa[lengths, 0]) + self.exponent[lengths, 0] * log(2))

    def exact(self) -> list[int]:
        """Return the number of words of each length from 0 to L, as exact integers."""
        ways = np.append(self.graph.accepting, False).astype(object) * 1
        numbers = [int(ways[0])]
        for _ in range(1, len(self.mantissa)):
            ways[:-1] = ways[self.graph.following].sum(axis=1)
            numbers.append(int(ways[0]))
        return numbers

    def draw(self, lengths: IntArray, rng: np.random.Generator) -> WordBatch:
        """Draw words, each uniformly among all words of its length.

        Args:
            lengths: (N,), the length of each word, each a value of `lengths`.
            rng: The random number generator.
        """
        codes = np.zeros((int(lengths.max(initial=0)), len(lengths)), np.uint8)
        symbols, state = symbol_codes(self.graph.alphabet), np.zeros(len(lengths), np.int64)
        for place in range(len(codes)):
            more = np.maximum(lengths - place - 1, 0)
            following = self.graph.following[state]
            m, e = self.mantissa[more[:, None], following], self.exponent[more[:, None], following]
            ways = np.ldexp(m, e - e.max(axis=1, keepdims=True)).cumsum(axis=1)
            choice = (ways > rng.random(len(ways))[:, None] * ways[:, -1:]).argmax(axis=1)
            codes[place] = symbols[choice]
            # A word that has ended needs no state, so state 0 serves.
            state = np.where(place < lengths, following[np.arange(len(state)), choice], 0)
        return WordBatch.from_codes(codes.T, lengths)
