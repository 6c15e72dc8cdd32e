"""The entropy of a language's own distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .words import FloatArray, IntArray


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
    """Return the entropy of a word of each even length that `sampling.bracket_words` draws without ``prime``.

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
