"""The words of a language: their number at each length, uniform draws, all of them in order, and entropies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
import numpy.typing as npt

from hf_ruleextrap.costs import MOST_BYTES, check_cost
from hf_ruleextrap.errors import RuleExtrapError

from .graph import Graph
from .machine import Machine
from .words import FloatArray, IntArray, WordBatch, symbol_codes

_MOST_NUMBERS = 1 << 24
_LENGTH_OF_GROWTH, _LEAST_GROWTH = 12, 1.4
"""The length from which the number of prefixes is projected, and the growth per symbol above which it is projected."""

_LARGEST_EXPONENT = 80.0

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
            RuleExtrapError: If the product of lengths and states is too large.
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


def bytes_of_words(n: float, max_length: float) -> float:
    """Return the memory for drawing n words: twice their codes (once more for sort keys), and 64 bytes for each."""
    return n * (2.0 * max_length + 64)


def enumerate_words(
    machine: Machine, alphabet: Sequence[str], max_length: int, work: str, *, project: bool
) -> Iterator[str]:
    """Yield every word of 1 to ``max_length`` symbols that a machine accepts, by length and in the alphabet's order.

    Args:
        machine: A rule or a language.
        alphabet: The k symbols.
        max_length: The largest length.
        work: A phrase for the work, which is the subject of an error message.
        project: Whether to estimate the memory for the last length at a short length. By default, the words of all
            lengths that fit into memory are yielded before the error.

    Raises:
        RuleExtrapError: If the words of the next length, or with ``project`` of the last one, take too much memory.
    """
    codes = symbol_codes(alphabet)
    prefixes, state = np.zeros((1, 0), np.uint8), machine.start(1)
    # The factor by which each position multiplies the prefixes; 1.0 where they grow slowly, as with counters alone.
    growth = 1.0
    for length in range(1, max_length + 1):
        size = bytes_of_words(len(prefixes), 16 * length)
        further = int(log(MOST_BYTES / size, growth)) if growth > 1 and size < MOST_BYTES else 0
        check_cost(
            work,
            f"give a length of at most {length - 1 + further}",
            # The exponent is capped so that exp does not overflow.
            size=exp(min(log(size) + (max_length - length) * log(growth), _LARGEST_EXPONENT)),
        )
        before = len(prefixes)
        prefixes = np.column_stack([prefixes.repeat(len(codes), 0), np.tile(codes, len(prefixes))])
        state = machine.step(tuple(part.repeat(len(codes), 0) for part in state), prefixes[:, -1])
        yield from (row.tobytes().decode("ascii") for row in prefixes[machine.accepts(state)])
        alive = machine.alive(state)
        if not alive.any():
            return
        prefixes, state = prefixes[alive], tuple(part[alive] for part in state)
        if project and length >= _LENGTH_OF_GROWTH:
            growth = max(1.0, len(prefixes) / before)
            growth = growth if growth > _LEAST_GROWTH else 1.0


@dataclass(frozen=True)
class Entropy:
    """The entropy of the distribution from which a language draws its words.

    Attributes:
        nats: The entropy of a word in nats: the sum of -P log P over all words.
        mean_length: The mean number of symbols in a word.
        exact: Whether both numbers are computed from probabilities; otherwise they are means over drawn words.
    """

    nats: float
    mean_length: float
    exact: bool = True

    @property
    def per_token(self) -> float:
        """The entropy divided by the mean number of tokens, which are the symbols of a word and its end.

        No predictor has a lower expected loss per token.

        >>> round(Entropy(nats=2.0, mean_length=3.0).per_token, 3)
        0.5
        """
        return self.nats / (self.mean_length + 1)


def uniform_entropy(lengths: IntArray, log_numbers: FloatArray) -> Entropy:
    """Return the entropy of a distribution in which all lengths, and all words of a length, are equally likely.

    Args:
        lengths: (N,), the lengths of the words.
        log_numbers: (N,) float64, the logarithm of the number of words of each length; or, for words that are not
            equally likely, the entropy of a word of each length in nats.

    >>> round(uniform_entropy(np.array([1, 2]), np.log([2, 2])).nats, 3)
    1.386
    """
    return Entropy(float(np.log(len(lengths)) + np.mean(log_numbers)), float(np.mean(lengths)))


def bracket_entropies(max_length: int, *, kinds: int, interleaved: bool) -> FloatArray:
    """Return the entropy of a word of each even length that `families.bracket_words` draws without ``prime``.

    The expected entropy of the remaining symbols depends only on their number and on the number of open brackets
    (where kinds interleave, on the number of open brackets of each kind). So it is computed backwards from the end of
    the word.

    Args:
        max_length: The largest length.
        kinds: The number of kinds of brackets.
        interleaved: Whether each kind closes independently of the others; otherwise, only the bracket that was opened
            last can be closed.

    Returns:
        (max_length // 2,) float64, for the lengths 2, 4, …, in nats.

    >>> bracket_entropies(4, kinds=1, interleaved=False).round(4).tolist()
    [0.0, 0.6931]
    """
    axes = kinds if interleaved else 1
    # Two more places than the largest number of open brackets, so that every opening bracket leads to a state.
    shape = (max_length // 2 + 2,) * axes
    still_open = np.indices(shape)
    depth = still_open.sum(axis=0)
    to_come, entropies = np.zeros(shape), []
    for room in range(1, max_length + 1):
        # With one stack for all kinds, a bracket of each kind can open, and each leads to the same number of open ones.
        may_open = np.where(depth < room, 1 if interleaved else kinds, 0)
        choices = np.zeros(shape)
        total = np.zeros(shape)
        for axis in range(axes):
            may_close = still_open[axis] > 0
            choices += may_open + may_close
            total += may_open * np.roll(to_come, -1, axis) + may_close * np.roll(to_come, 1, axis)
        possible = np.maximum(choices, 1)
        to_come = np.where(depth <= room, np.log(possible) + total / possible, 0.0)
        if room % 2 == 0:
            entropies.append(to_come[(0,) * axes])
    return np.array(entropies)
