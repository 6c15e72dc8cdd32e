"""A number over several runs, and how two numbers go together over runs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Spread:
    """A number over the runs that have it.

    Attributes:
        mean: over runs; None where no run has the number.
        std: with n - 1 in the denominator, as in the paper's tables; None for fewer than two runs.
        n: how many runs.
        low, high: the 95 % interval of the mean over runs (Student's t), within [0, 1] for a rate; None for fewer than
            two runs. It has no width where all runs agree.
    """

    mean: float | None
    std: float | None
    n: int
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, mean: float | None, std: float | None, n: int, *, rate: bool = True) -> Spread:
        """With its interval.

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
        """Of what is there and finite.

        >>> Spread.over([1.0, None, 3.0], rate=False).std
        1.4142135623730951
        """
        known = [value for value in values if value is not None and math.isfinite(value)]
        mean = float(np.mean(known)) if known else None
        return cls.of(mean, float(np.std(known, ddof=1)) if len(known) > 1 else None, len(known), rate=rate)


@cache
def t_quantile(df: int) -> float:
    """How many standard errors the 95 % interval of Student's t reaches to each side.

    With t = sqrt(df) tan(x), the density becomes cos(x)^(df - 1), which is summed here.

    >>> [round(t_quantile(df), 3) for df in (1, 2, 10, 100)]
    [12.706, 4.303, 2.228, 1.984]
    """
    x = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(x) ** (df - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(df) * math.tan(float(np.interp(0.95, area / area[-1], x)))


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation.

    Attributes:
        value: None where either number is constant, or for fewer than 3 pairs.
        low: of the 95 % interval; None where there are too few units, and for a perfect correlation.
        high: as low.
        n: pairs.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        """As it stands in a title."""
        if self.value is None:
            return f"undefined (n = {self.n})"
        interval = "no interval" if self.low is None else f"[{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f} {interval} (n = {self.n})"


def rank_correlation(
    x: Sequence[float],
    y: Sequence[float],
    units: Sequence[Hashable] | None = None,
    strata: Sequence[Hashable] | None = None,
) -> Correlation:
    """Spearman's rank correlation of two numbers over runs, ties sharing their rank.

    The interval is that of Bonett and Wright (Psychometrika 65, 2000): artanh of the correlation, plus and minus 1.96
    times sqrt((1 + value^2 / 2) / (units - strata - 2)). A bootstrap would be far too narrow for so few.

    Args:
        x: N numbers.
        y: N numbers.
        units: what belongs together, as the seeds of one model do, and counts once in the interval; by default each
            pair for itself.
        strata: ranks are taken within each of them, and scaled to be alike; so what differs between strata counts for
            nothing.

    >>> rank_correlation([1, 2, 3, 4, 5], [1, 4, 9, 25, 16]).value
    0.9
    >>> rank_correlation([1, 2, 11, 12], [8, 9, 1, 2], strata="aabb").value
    1.0
    """
    pairs = np.array([x, y], dtype=np.float64).reshape(2, -1)
    n = pairs.shape[1]
    layers = list(strata) if strata is not None else [0] * n
    ranks = np.array([_ranks(values, layers) for values in pairs])
    if n < 3 or (np.ptp(ranks, axis=1) < 1e-12).any():
        return Correlation(None, None, None, n)
    value = round(float(np.corrcoef(ranks)[0, 1]), 12)
    known = len(set(units) if units is not None else range(n)) - len(set(layers)) - 2
    if known < 1 or abs(value) == 1:
        return Correlation(value, None, None, n)
    half = _Z95 * math.sqrt((1 + value**2 / 2) / known)
    return Correlation(value, math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half), n)


def _ranks(values: npt.NDArray[np.float64], layers: Sequence[Hashable]) -> npt.NDArray[np.float64]:
    """Mean ranks; within each layer between -1/2 and 1/2."""
    ranks = np.zeros(len(values))
    for layer in set(layers):
        rows = np.array([i for i, name in enumerate(layers) if name == layer])
        _, place, count = np.unique(values[rows], return_inverse=True, return_counts=True)
        ranks[rows] = (np.cumsum(count) - (count - 1) / 2)[place] / (len(rows) + 1) - 0.5
    return ranks
