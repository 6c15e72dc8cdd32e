"""Intervals of clustered rates cover the true rate, and have a positive width at 0 and 1."""

from __future__ import annotations

import numpy as np
import pytest

from hf_ruleextrap.formal import Clusters, Rate, difference_interval
from hf_ruleextrap.formal.intervals import wilson

SAMPLES, REPEATS = 8, 3000


def drawn(rng: np.random.Generator, n: int, p: float, correlation: float, family: str) -> np.ndarray:
    """Return (REPEATS, n): the successes of 8 rows in each of n clusters, with a correlation within clusters."""
    if correlation in (0.0, 1.0):
        rates = np.full((REPEATS, n), p) if correlation == 0.0 else (rng.random((REPEATS, n)) < p).astype(float)
    elif family == "beta":
        concentration = (1 - correlation) / correlation
        rates = rng.beta(p * concentration, (1 - p) * concentration, (REPEATS, n))
    else:
        # The rows of some clusters always agree, and the rows of the other clusters are independent.
        alike = rng.random((REPEATS, n)) < correlation
        rates = np.where(alike, rng.random((REPEATS, n)) < p, p)
    return rng.binomial(SAMPLES, rates)


def coverage(hits: np.ndarray, p: float) -> float:
    """Return the share of repetitions whose interval contains p.

    Repetitions with the same counts have the same interval, so each interval is computed once.
    """
    different, times = np.unique(np.sort(hits, axis=1), axis=0, return_counts=True)
    rows = np.full(hits.shape[1], float(SAMPLES))
    ends = [Clusters(each.astype(float), rows).interval for each in different]
    return float(sum(n for (low, high), n in zip(ends, times, strict=True) if low <= p <= high) / len(hits))


@pytest.mark.parametrize("family", ["beta", "mixture"])
@pytest.mark.parametrize("n", [12, 64])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9, 0.98])
def test_an_interval_covers_at_every_correlation_within_prompts(family: str, n: int, p: float) -> None:
    rng = np.random.default_rng(3)
    for correlation in (0.0, 0.1, 0.3, 0.6, 1.0):
        assert coverage(drawn(rng, n, p, correlation, family), p) >= 0.93, correlation


def test_an_interval_has_a_width_if_all_rows_agree() -> None:
    ten = np.ones(40, np.bool_)
    kept, lost = Rate.count(ten, samples=4), Rate.count(~ten, samples=4)
    assert (kept.rate, kept.high) == (1.0, 1.0)
    assert kept.low is not None
    assert 0.7 < kept.low < 0.75
    assert lost.low == 0.0
    assert lost.high == pytest.approx(1 - kept.low)


def test_with_one_row_for_each_prompt_the_interval_is_wilson_s() -> None:
    hits = np.array([True] * 7 + [False] * 4)
    rate = Rate.count(hits)
    assert (rate.low, rate.high) == pytest.approx(wilson(7, 11))


def test_more_rows_of_prompts_that_always_agree_do_not_narrow_the_interval() -> None:
    hits = np.arange(20) % 4 == 0
    once, often = Rate.count(hits), Rate.count(hits.repeat(8), samples=8)
    assert (once.low, once.high) == pytest.approx((often.low, often.high))


def test_excluded_rows_do_not_count() -> None:
    hits, among = np.array([True, True, False, True]), np.array([True, False, True, False])
    rate = Rate.count(hits, among, samples=2)
    assert (rate.hits, rate.n) == (1, 2)
    assert rate.low is not None
    assert rate.high is not None
    assert 0 < rate.low < 0.5 < rate.high < 1


@pytest.mark.parametrize("n", [12, 64])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("samples", [1, SAMPLES])
def test_the_interval_of_a_difference_from_known_chance_covers(n: int, p: float, samples: int) -> None:
    """Chance is exact after each prompt, and the model is better after the prompts after which chance is better."""
    rng = np.random.default_rng(5)
    for chance in (0.1, 0.5):
        covered, repeats = 0, 400
        for _ in range(repeats):
            ease = rng.random(n)
            known = 2 * chance * ease
            # The mean rate of the model is p, and its rates rise with the ease of the prompt.
            rates = p + min(p, 1 - p) * (2 * ease - 1)
            model = Clusters(rng.binomial(samples, rates).astype(float), np.full(n, float(samples)))
            low, high = difference_interval(model, Clusters.of_rates(known, exact=True))
            covered += low <= p - chance <= high
        assert covered / repeats >= 0.93, chance
