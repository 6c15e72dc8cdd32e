"""How many words of each length a language has, and one of them at random."""

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
"""The exponent of 0: less than any other."""


@dataclass(frozen=True, eq=False)
class WordCounts:
    """From each state of a graph, the number of ways to a word with so many symbols more.

    A number is m 2^e with 1/2 <= m < 1 (m = 0 for none), so it is exact up to 2^53, is close to 2^-53 above, and
    overflows at no length. No logarithm is taken, so the words drawn are the same on every processor.

    Attributes:
        graph: with a limit of length, L.
        mantissa: (L + 1, S) float64, by the number of symbols to come.
        exponent: (L + 1, S) int32.
    """

    graph: Graph
    mantissa: FloatArray
    exponent: npt.NDArray[np.int32]

    @classmethod
    def of(cls, graph: Graph) -> WordCounts:
        """Count, from the ends of the words backwards.

        Raises:
            RuleExtrapError: there are too many states for so many lengths.
        """
        assert graph.max_length is not None
        size = graph.max_length + 1
        if size * len(graph) > _MOST_NUMBERS:
            raise RuleExtrapError(
                f"words of {graph.max_length} symbols lead to {len(graph)} states, too many to count them exactly: "
                "give a smaller max_length, or the language its own draw and log_probability"
            )
        # A last column for NOWHERE, from which no word is reached.
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
        """The lengths, at least 1, that words have."""
        return np.flatnonzero(self.mantissa[1:, 0]) + 1

    def log(self, lengths: IntArray) -> FloatArray:
        """(N,) float64: the logarithm of the number of words of each length, in nats; -inf where there are none."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.mantissa[lengths, 0]) + self.exponent[lengths, 0] * log(2))

    def exact(self) -> list[int]:
        """The number of words of each length from 0 to L, as integers of any size."""
        ways = np.append(self.graph.accepting, False).astype(object) * 1
        numbers = [int(ways[0])]
        for _ in range(1, len(self.mantissa)):
            ways[:-1] = ways[self.graph.following].sum(axis=1)
            numbers.append(int(ways[0]))
        return numbers

    def draw(self, lengths: IntArray, rng: np.random.Generator) -> WordBatch:
        """Words, each uniform among all words of its length.

        Args:
            lengths: (N,), each one of `lengths`.
            rng: the randomness.
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
            # A word that has ended stays where it is.
            state = np.where(place < lengths, following[np.arange(len(state)), choice], 0)
        return WordBatch.from_codes(codes.T, lengths)
