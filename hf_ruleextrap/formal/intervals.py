"""Rates and their differences with intervals, where rows come in clusters: the completions of one prompt are alike."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from .words import BoolArray, FloatArray

Z95 = 1.959963984540054
"""The half-width of a 95 % interval of the normal distribution, in standard errors."""


def wilson(hits: float, n: float) -> tuple[float, float]:
    """Return the 95 % score interval of a rate (E. B. Wilson, JASA 1927).

    Args:
        hits: The number of successes; a tie may count one half.
        n: The number of rows, at least 1; an effective number of rows need not be whole.

    >>> [round(end, 4) for end in wilson(2, 3)]
    [0.2077, 0.9385]
    """
    p, z2 = hits / n, Z95**2
    center = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * sqrt(max(0.0, p * (1 - p)) / n + z2 / (4 * n * n))
    return max(0.0, min(p, center - half)), min(1.0, max(p, center + half))


@dataclass(frozen=True, eq=False)
class Clusters:
    """Successes in N clusters of rows, such as the completions of N prompts.

    Attributes:
        hits: (N,) float64, the successes in each cluster.
        rows: (N,) float64, the rows of each cluster, at least one of them above 0.
        exact: Whether ``hits / rows`` is the probability of a success itself, not a count in a sample of rows.
    """

    hits: FloatArray
    rows: FloatArray
    exact: bool = False

    @classmethod
    def of_rates(cls, rates: FloatArray, rows: int = 1, *, exact: bool = False) -> Clusters:
        """Return clusters of equal size from the (N,) rate of each."""
        return cls(np.asarray(rates, np.float64) * rows, np.full(len(rates), float(rows)), exact)

    @property
    def rate(self) -> float:
        """The share of all rows that are successes."""
        return float(self.hits.sum() / self.rows.sum())

    @property
    def effective_rows(self) -> float:
        """The number of independent rows that would have as much information as these rows.

        It is the number of rows divided by the design effect (L. Kish, Survey Sampling, 1965): the variance between
        clusters divided by the variance of independent rows. The estimate counts two additional clusters, one of
        successes alone and one of failures alone, because a few clusters that agree by accident do not show that all
        clusters agree. The design effect is between 1 (independent rows) and the effect of clusters whose rows always
        agree. A probability that is exact and equal in all clusters counts as if there were infinitely many rows.
        """
        if self.exact and np.ptp(self.hits[self.rows > 0] / self.rows[self.rows > 0]) == 0:
            return inf
        total, size = self.rows.sum(), (self.rows**2).sum() / self.rows.sum()
        clusters = float((self.rows > 0).sum())
        p = (self.hits.sum() + size) / (total + 2 * size)
        between = ((self.hits - p * self.rows) ** 2).sum() + size**2 * (p**2 + (1 - p) ** 2)
        effect = between / ((clusters + 1) * (total / clusters) * p * (1 - p))
        return float(total / np.clip(effect, 0.0 if self.exact else 1.0, size))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the rate: Wilson's, for the effective number of rows.

        The method is that of E. L. Korn and B. I. Graubard, Survey Methodology 24, 1998, who use another interval. With
        one row for each cluster, the result is Wilson's interval, and it is never narrower than Wilson's over all rows.

        >>> low, high = Clusters.of_rates(np.ones(10), rows=4).interval
        >>> round(low, 2), high
        (0.72, 1.0)
        """
        n = self.effective_rows
        return (self.rate, self.rate) if n == inf else wilson(self.rate * n, n)


@dataclass(frozen=True)
class Rate:
    """A rate with its count and its interval.

    Attributes:
        rate: The number of successes divided by the number of rows; None where n is 0.
        low, high: The 95 % interval (see `count`); for an exact rate, both ends are the rate itself.
        hits: The number of successes; None where only their probability is known.
        n: The number of rows.
        exact: Whether the rate is computed from probabilities, not counted in a sample.
    """

    rate: float | None
    low: float | None
    high: float | None
    hits: int | None
    n: int
    exact: bool = False

    @classmethod
    def count(cls, hits: BoolArray, among: BoolArray | None = None, *, samples: int = 1) -> Rate:
        """Return the share of successes with its 95 % interval.

        With one row for each prompt, the interval is Wilson's (E. B. Wilson, JASA 1927). With several rows, which are
        alike, the interval is Wilson's for the effective number of rows (`Clusters`).

        Args:
            hits: (N,) bool, the successes.
            among: (N,) bool, the rows that count; by default, all rows.
            samples: The number of consecutive rows that belong to one prompt.

        >>> r = Rate.count(np.array([True, True, False]))
        >>> r.hits, r.n, round(r.low, 4), round(r.high, 4)
        (2, 3, 0.2077, 0.9385)
        >>> Rate.count(np.zeros(0, bool)).rate is None
        True
        """
        rows = np.ones_like(hits) if among is None else among
        k, n = int((hits & rows).sum()), int(rows.sum())
        if n == 0:
            return cls(None, None, None, 0, 0)
        of_prompts = [each.reshape(-1, samples).sum(axis=1).astype(np.float64) for each in (hits & rows, rows)]
        return cls(k / n, *Clusters(*of_prompts).interval, k, n)

    @classmethod
    def known(cls, rate: float, n: int, hits: int | None = None) -> Rate:
        """Return an exact rate over n prompts."""
        return cls(rate, rate, rate, hits, n, exact=True) if n else cls(None, None, None, hits, 0, exact=True)

    @property
    def rate_text(self) -> str:
        """The rate with two places; a dash where the rate is not defined."""
        return "-" if self.rate is None else f"{self.rate:.2f}"

    @property
    def interval_text(self) -> str:
        """The 95 % interval in brackets; empty where the rate is exact or not defined."""
        return "" if self.low is None or self.exact else f"[{self.low:.2f}, {self.high:.2f}]"


def difference_interval(first: Clusters, second: Clusters) -> tuple[float, float]:
    """Return the 95 % interval of the rate of ``first`` less that of ``second``, on the same N clusters.

    The intervals of the two rates are put together with the correlation between clusters (R. G. Newcombe, Statistics in
    Medicine 17, 1998, method 10, with its correction for continuity). So the interval has a width even where both agree
    on every cluster.

    >>> all_kept, chance = Clusters.of_rates(np.ones(10)), Clusters.of_rates(np.full(10, 0.2), exact=True)
    >>> [round(end, 2) for end in difference_interval(all_kept, chance)]
    [0.52, 0.8]
    """
    (p, (low, high)), (q, (other_low, other_high)) = ((each.rate, each.interval) for each in (first, second))
    correlation = _correlation(first, second)

    def reach(one: float, other: float) -> float:
        return sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))

    return max(-1.0, p - q - reach(p - low, other_high - q)), min(1.0, p - q + reach(high - p, q - other_low))


def _correlation(first: Clusters, second: Clusters) -> float:
    """Return the correlation between two rates on the same clusters; 0 if one of the rates does not vary."""
    n = float((first.rows > 0).sum())
    residuals = [(each.hits - each.rate * each.rows) / each.rows.sum() for each in (first, second)]
    covariance = float((residuals[0] * residuals[1]).sum())
    covariance = max(0.0, covariance - 1 / (2 * n * n)) if covariance > 0 else covariance
    variances = [max(0.0, each.rate * (1 - each.rate)) / each.effective_rows for each in (first, second)]
    scale = sqrt(variances[0] * variances[1])
    return float(np.clip(covariance / scale, -1.0, 1.0)) if scale > 1e-12 else 0.0
