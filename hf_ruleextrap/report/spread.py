"""Means over several runs, p-values, and their correction for the number of comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from hf_ruleextrap.formal.words import FloatArray

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Spread:
    """A number over the runs that have it.

    Attributes:
        mean: the mean over runs; None where no run has the number.
        std: the standard deviation with denominator n - 1, as in the paper's tables; None for fewer than two runs.
        n: the number of runs that have the number.
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
    return math.erfc(_Z95 * distance / side / math.sqrt(2)) if side > 0 else 0.0


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
