"""Means over runs, p-values and their correction for many comparisons, and rank correlations over crossed designs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TypeVar

import numpy as np

from hf_ruleextrap.formal.intervals import Z95
from hf_ruleextrap.formal.words import FloatArray, IntArray

Key = TypeVar("Key")
PERMUTATIONS = 5_000
LEVEL = 0.05
# Two correlations count as equal if their difference is smaller than this number.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Spread:
    """A number over the runs that have it.

    Attributes:
        mean: The mean over runs; None where no run has the number.
        std: The standard deviation with denominator n - 1, as in the paper's tables; None for fewer than two runs.
        n: The number of runs that have the number.
        low, high: The 95 % interval of the mean over runs (Student's t), within [0, 1] for a rate; None for fewer than
            two runs. The interval has no width where all runs agree.
    """

    mean: float | None
    std: float | None
    n: int
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, mean: float | None, std: float | None, n: int, *, rate: bool = True) -> Spread:
        """Return the spread of a mean, with its interval.

        >>> Spread.of(0.5, 0.1, 4).high.__round__(4)
        0.6591
        """
        if mean is None or std is None or n < 2:
            return cls(mean, None, n)
        half = t_quantile(n - 1) * std / math.sqrt(n)
        least, most = (0.0, 1.0) if rate else (-math.inf, math.inf)
        return cls(mean, std, n, max(least, mean - half), min(most, mean + half))

    @classmethod
    def over(cls, values: Iterable[float | None], *, rate: bool = True) -> Spread:
        """Return the spread of the values that are present and finite.

        >>> Spread.over([1.0, None, 3.0], rate=False).std
        1.4142135623730951
        """
        known = [value for value in values if value is not None and math.isfinite(value)]
        mean = float(np.mean(known)) if known else None
        return cls.of(mean, float(np.std(known, ddof=1)) if len(known) > 1 else None, len(known), rate=rate)


def mean_over_groups(groups: Sequence[Spread]) -> Spread:
    """Return the mean of the means of some groups, with its interval over the runs of these groups.

    The groups are fixed, so the interval holds for them alone. It is that of Student's t with the degrees of freedom of
    B. L. Welch (Biometrika 34, 1947), which for one group is the group's own interval.

    Args:
        groups: The spreads of K groups of at least two runs each.

    Returns:
        The mean with its interval; n is K.

    >>> one, other = Spread.of(0.4, 0.2, 4, rate=False), Spread.of(0.6, 0.2, 4, rate=False)
    >>> mean_over_groups([one]).low == one.low
    True
    >>> [round(end, 3) for end in (mean_over_groups([one, other]).low, mean_over_groups([one, other]).high)]
    [0.327, 0.673]
    """
    mean = float(np.mean([group.mean for group in groups]))
    squares = [(group.std or 0.0) ** 2 / group.n for group in groups]
    if not any(squares):
        return Spread(mean, None, len(groups), mean, mean)
    df = sum(squares) ** 2 / sum(square**2 / (group.n - 1) for square, group in zip(squares, groups, strict=True))
    half = t_quantile(max(1, math.floor(df + _TOLERANCE))) * math.sqrt(sum(squares)) / len(groups)
    return Spread(mean, None, len(groups), mean - half, mean + half)


def t_tail(t: float, df: int) -> float:
    """Return the two-sided tail probability of Student's t.

    >>> [round(t_tail(12.7062, 1), 4), round(t_tail(-2.2281, 10), 4), t_tail(math.inf, 3)]
    [0.05, 0.05, 0.0]
    """
    x, share = _t_shares(df)
    return max(0.0, 1.0 - float(np.interp(math.atan(abs(t) / math.sqrt(df)), x, share)))


@cache
def t_quantile(df: int) -> float:
    """Return the half-width of the 95 % interval of Student's t, in standard errors.

    >>> [round(t_quantile(df), 3) for df in (1, 2, 10, 100)]
    [12.706, 4.303, 2.228, 1.984]
    """
    x, share = _t_shares(df)
    return math.sqrt(df) * math.tan(float(np.interp(0.95, share, x)))


@cache
def _t_shares(df: int) -> tuple[FloatArray, FloatArray]:
    """Return angles x, and the probabilities that |t| is at most sqrt(df) tan(x).

    With t = sqrt(df) tan(x), the density becomes cos(x)^(df - 1), which is summed here.
    """
    x = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(x) ** (df - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return x, area / area[-1]


def interval_tail(rate: float, low: float, high: float, value: float) -> float:
    """Return the two-sided p-value of a value against a rate with a 95 % interval.

    The distance to the value is counted in standard errors of the interval's side that faces the value (Altman and
    Bland, BMJ 343, 2011). The p-value is below 0.05 if and only if the interval excludes the value.

    >>> round(interval_tail(0.5, 0.4, 0.6, 0.6), 3)
    0.05
    """
    distance, side = abs(rate - value), rate - low if value < rate else high - rate
    if distance == 0:
        return 1.0
    return math.erfc(Z95 * distance / side / math.sqrt(2)) if side > 0 else 0.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for the number of comparisons (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    With a threshold of 0.05, the probability that any true null hypothesis is rejected is at most 5 %.

    Args:
        p_values: N p-values; None for an impossible comparison, which is not counted.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected, largest = list(p_values), 0.0
    tested = [i for i, p in enumerate(p_values) if p is not None]
    for place, i in enumerate(sorted(tested, key=lambda i: p_values[i] or 0.0)):
        largest = max(largest, (len(tested) - place) * (p_values[i] or 0.0))
        corrected[i] = min(1.0, largest)
    return corrected


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values so that a threshold is a false discovery rate (Benjamini and Hochberg, JRSS B 57, 1995).

    Args:
        p_values: N p-values; None for an impossible comparison, which is not counted.

    >>> [round(p, 3) for p in benjamini_hochberg([0.01, 0.04, 0.03])]
    [0.03, 0.04, 0.04]
    """
    corrected, least = list(p_values), 1.0
    tested = [i for i, p in enumerate(p_values) if p is not None]
    for place, i in enumerate(sorted(tested, key=lambda i: p_values[i] or 0.0, reverse=True)):
        least = min(least, len(tested) / (len(tested) - place) * (p_values[i] or 0.0))
        corrected[i] = least
    return corrected


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation.

    Attributes:
        value: The correlation; None if either number is constant, or for fewer than 3 pairs.
        low: The lower end of the 95 % interval; None if the design has too few levels, or for a perfect correlation.
        high: The upper end of the interval; None where ``low`` is None.
        n: The number of pairs.
        p: The p-value of the permutation test; None where ``value`` is None.
        corrected: The p-value after Holm's correction; None where ``p`` is None, and before the correction.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None = None
    corrected: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the p-value after the correction is at most `LEVEL`."""
        return self.corrected is not None and self.corrected <= LEVEL


def corrected(correlations: Mapping[Key, Correlation]) -> dict[Key, Correlation]:
    """Return the correlations with p-values that are corrected for their number (`holm`)."""
    p_values = holm([correlation.p for correlation in correlations.values()])
    return {
        key: replace(correlation, corrected=p)
        for (key, correlation), p in zip(correlations.items(), p_values, strict=True)
    }


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
        permutations: The number of permutations, which include the identity and are drawn with a fixed seed.

    >>> rank_correlation([1, 2, 3, 4, 5], [1, 4, 9, 25, 16]).value
    0.9
    >>> rank_correlation([1, 2, 11, 12], [8, 9, 1, 2], strata="aabb").value
    1.0
    """
    pairs = np.array([x, y], dtype=np.float64).reshape(2, -1)
    n = pairs.shape[1]
    layers: Sequence[Hashable] = strata if strata is not None else (0,) * n
    ranks = np.array([scaled_ranks(values, layers) for values in pairs])
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


def scaled_ranks(values: Sequence[float] | FloatArray, layers: Sequence[Hashable]) -> FloatArray:
    """Return the mean rank of each value within its layer, scaled to lie between -1/2 and 1/2.

    Args:
        values: N numbers, which may be infinite.
        layers: N labels.

    >>> scaled_ranks([1.0, 2.0, 3.0, 9.0], "aaab").tolist()
    [-0.25, 0.0, 0.25, 0.0]
    """
    numbers, codes = np.asarray(values), np.array(_codes(layers))
    ranks = np.zeros(len(numbers))
    for layer in np.unique(codes):
        members = codes == layer
        _, place, count = np.unique(numbers[members], return_inverse=True, return_counts=True)
        ranks[members] = (np.cumsum(count) - (count - 1) / 2)[place] / (members.sum() + 1) - 0.5
    return ranks


@lru_cache(maxsize=64)
def _sources(design: tuple[tuple[int, ...], ...], permutations: int) -> IntArray:
    """Return for each run the run whose x it takes, in each permutation of all factors' levels and of the replicates.

    Args:
        design: The level of each of N runs, for each factor.
        permutations: The number B of permutations, of which the first is the identity.

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


@cache
def power(x: tuple[float, ...], related: float) -> float:
    """Return the share of 2,000 simulated studies whose rank correlation with x has a p-value of at most 5 %.

    A study has one number for each x, which is normal and has the given correlation with x.

    Args:
        x: The N values, such as the levels of N languages.
        related: The true correlation.

    >>> power(tuple(range(20)), 0.9) > 0.95 > 0.4 > power((0, 0, 1, 1, 2, 2), 0.5)
    True
    """
    rng = np.random.default_rng(0)
    layer = (0,) * len(x)
    standard = (np.array(x) - np.mean(x)) / np.std(x)
    numbers = related * standard + math.sqrt(1 - related**2) * rng.normal(size=(2_000, len(x)))
    y = np.array([scaled_ranks(study, layer) for study in numbers])
    shuffled = scaled_ranks(x, layer)[_shuffles(rng, 1_000, 1, len(x))[:, 0]]
    size = np.abs((shuffled - shuffled.mean()) @ y.T)
    return float(np.mean(np.mean(size >= size[0] - _TOLERANCE, axis=0) <= LEVEL))
