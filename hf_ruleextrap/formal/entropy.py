"""The entropy of a language's own distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .words import FloatArray, IntArray


@dataclass(frozen=True)
class Entropy:
    """How uncertain a word is that a language's sampler draws.

    Attributes:
        nats: of a word, in nats: the sum of -P log P over all words.
        mean_length: the mean number of symbols in a word.
        exact: whether both are computed; else they are means over drawn words.
    """

    nats: float
    mean_length: float
    exact: bool = True

    @property
    def per_token(self) -> float:
        """Nats over the mean number of tokens: the symbols of a word and its end. No predictor's expected loss is less.

        >>> round(Entropy(nats=2.0, mean_length=3.0).per_token, 3)
        0.5
        """
        return self.nats / (self.mean_length + 1)


def uniform_entropy(lengths: IntArray, log_numbers: FloatArray) -> Entropy:
    """The entropy where each length is as likely as any other, and so is each word of a length.

    Args:
        lengths: (N,), the lengths that words have.
        log_numbers: (N,) float64, the logarithm of the number of words of each length; or the entropy of a word of each
            length, in nats.

    >>> round(uniform_entropy(np.array([1, 2]), np.log([2, 2])).nats, 3)
    1.386
    """
    return Entropy(float(np.log(len(lengths)) + np.mean(log_numbers)), float(np.mean(lengths)))


def bracket_entropies(max_length: int, *, kinds: int, interleaved: bool) -> FloatArray:
    """The entropy of a word of each even length that `sampling.bracket_words` grows, without ``prime``.

    The expected entropy of the symbols to come depends on the number of open brackets and of symbols to come alone
    (where kinds interleave, on the open brackets of each kind), so it is followed backwards from the end of the word.

    Args:
        max_length: the largest length.
        kinds: the number of kinds of brackets.
        interleaved: each kind closes whatever is open of the others; else only the bracket opened last can be closed.

    Returns:
        (max_length // 2,) float64, for the lengths 2, 4, …, in nats.

    >>> bracket_entropies(4, kinds=1, interleaved=False).round(4).tolist()
    [0.0, 0.6931]
    """
    axes = kinds if interleaved else 1
    # Two places beyond the largest number of open brackets, so that an opening bracket has a state to lead to.
    shape = (max_length // 2 + 2,) * axes
    still_open = np.indices(shape)
    depth = still_open.sum(axis=0)
    to_come, entropies = np.zeros(shape), []
    for room in range(1, max_length + 1):
        # Where one stack holds all kinds, each of them can open, and leads to the same number of open brackets.
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
