"""Rank correlations over runs of a crossed design, with intervals and p-values from permutations of its factors."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hf_ruleextrap.formal.words import FloatArray, IntArray

PERMUTATIONS = 5_000
LEVEL = 0.05
# Two correlations count as equal if their difference is smaller than this number.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation.

    Attributes:
        value: the correlation; None if either number is constant, or for fewer than 3 pairs.
        low: the lower end of the 95 % interval; None if the design has too few levels, or for a perfect correlation.
        high: the upper end of the interval; None where ``low`` is None.
        n: the number of pairs.
        p: the p-value of the permutation test; None where ``value`` is None.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None = None

    def __str__(self) -> str:
        """Return the correlation as it is written in a title."""
        if self.value is None:
            return f"undefined (n = {self.n})"
        interval = "no interval" if self.low is None else f"[{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f} {interval} (n = {self.n})"


def rank_correlation(
    x: Sequence[float],
    y: Sequence[float],
    *,
    factors: Sequence[Sequence[Hashable]] = (),
    strata: Sequence[Hashable] | None = None,
    permutations: int = PERMUTATIONS,
) -> Correlation:
    """Compute Spearman's rank correlation of two numbers over runs; tied values share their mean rank.

    The runs of a study are crossed: each language is combined with each architecture, and both have effects of their
    own, so that runs are not independent. The null hypothesis is that x and y are unrelated, whatever the effects of
    the factors on each of them. If the levels of each factor are exchangeable, the correlation has the same
    distribution when the levels of x are permuted, the same permutation of architectures in all languages and of
    languages in all architectures (and the runs within each combination). The p-value is the share of these
    permutations with a correlation at least as far from 0 (the identity among them), which is exact for a complete
    design. With c the smallest correlation that is significant at 5 %, the interval is artanh(value) plus and minus
    artanh(c): it leaves out 0 if and only if p <= 0.05. Fisher's transformation makes its width nearly the same for all
    true values.

    Args:
        x: N numbers.
        y: N numbers.
        factors: N labels for each factor. Runs with equal labels in all factors are replicates, as seeds are. By
            default, each pair is the only level of one factor.
        strata: N labels; ranks are taken within each stratum and scaled to be alike, so that differences between
            strata have no influence.
        permutations: number of permutations, the identity included; drawn with a fixed seed.

    >>> rank_correlation([1, 2, 3, 4, 5], [1, 4, 9, 25, 16]).value
    0.9
    >>> rank_correlation([1, 2, 11, 12], [8, 9, 1, 2], strata="aabb").value
    1.0
    """
    pairs = np.array([x, y], dtype=np.float64).reshape(2, -1)
    n = pairs.shape[1]
    layers = _codes(strata) if strata is not None else (0,) * n
    ranks = np.array([_ranks(values, np.array(layers)) for values in pairs])
    if n < 3 or (np.ptp(ranks, axis=1) < _TOLERANCE).any():
        return Correlation(None, None, None, n)
    design = tuple(map(_codes, factors)) or (tuple(range(n)),)
    absolute = np.abs(_correlations(ranks, _sources(design, permutations)))
    value = round(float(np.corrcoef(ranks)[0, 1]), 12)
    p = float(np.mean(absolute >= abs(value) - _TOLERANCE))
    # The largest correlation that is not significant.
    critical = float(np.sort(absolute)[-1 - int(LEVEL * permutations + _TOLERANCE)])
    # Where the two are equal, rounding must not exclude 0 from the interval.
    critical = max(critical, abs(value)) if p > LEVEL else critical
    if max(critical, abs(value)) > 1 - _TOLERANCE:
        return Correlation(value, None, None, n, p)
    low, high = (math.tanh(math.atanh(value) + sign * math.atanh(critical)) for sign in (-1, 1))
    return Correlation(value, low, high, n, p)


def _codes(labels: Sequence[Hashable]) -> tuple[int, ...]:
    """Number labels in the order of their appearance."""
    numbers: dict[Hashable, int] = {}
    return tuple(numbers.setdefault(label, len(numbers)) for label in labels)


def _ranks(values: FloatArray, layers: IntArray) -> FloatArray:
    """Return mean ranks, scaled to lie between -1/2 and 1/2 within each layer."""
    ranks = np.zeros(len(values))
    for layer in np.unique(layers):
        members = layers == layer
        _, place, count = np.unique(values[members], return_inverse=True, return_counts=True)
        ranks[members] = (np.cumsum(count) - (count - 1) / 2)[place] / (members.sum() + 1) - 0.5
    return ranks


@lru_cache(maxsize=64)
def _sources(design: tuple[tuple[int, ...], ...], permutations: int) -> IntArray:
    """Return for each run the run whose x it takes, in each permutation of all factors' levels and of the replicates.

    Args:
        design: the level of each of N runs, for each factor.
        permutations: the number B of permutations, of which the first is the identity.

    Returns:
        (B, N) int64; -1 where an incomplete design lacks that run.
    """
    rng = np.random.default_rng(0)
    cells = np.array(_codes(list(zip(*design, strict=True))))
    # The index of each run among the runs of its cell.
    replicate = np.array([int((cells[:i] == cell).sum()) for i, cell in enumerate(cells)])
    sizes = [max(levels) + 1 for levels in design]
    runs = np.full((*sizes, replicate.max() + 1), -1)
    runs[(*map(np.array, design), replicate)] = np.arange(len(cells))
    places = [
        _shuffles(rng, permutations, 1, size)[:, 0, list(levels)] for size, levels in zip(sizes, design, strict=True)
    ]
    within = _shuffles(rng, permutations, cells.max() + 1, replicate.max() + 1)
    sources: IntArray = runs[(*places, within[:, cells, replicate])]
    return sources


def _shuffles(rng: np.random.Generator, draws: int, groups: int, size: int) -> IntArray:
    """Return permutations of a range, (draws, groups, size); the first draw is the identity."""
    shuffles = np.tile(np.arange(size), (draws, groups, 1))
    shuffles[1:] = rng.permuted(shuffles[1:], axis=2)
    return shuffles


def _correlations(ranks: FloatArray, sources: IntArray) -> FloatArray:
    """Return Pearson's correlations (B,) of permuted x ranks and y ranks over the common pairs; 1 if undefined."""
    present = sources >= 0
    x, y = np.where(present, ranks[0][sources], 0.0), ranks[1]
    count = present.sum(axis=1)
    x_sum, y_sum = x.sum(axis=1), present @ y
    xx = (x * x).sum(axis=1) - x_sum**2 / np.maximum(count, 1)
    yy = present @ (y * y) - y_sum**2 / np.maximum(count, 1)
    xy = x @ y - x_sum * y_sum / np.maximum(count, 1)
    # A correlation without variance is undefined; counting it as 1 keeps the test conservative.
    defined = (xx > _TOLERANCE) & (yy > _TOLERANCE)
    return np.where(defined, xy / np.sqrt(np.where(defined, xx * yy, 1.0)), 1.0)
