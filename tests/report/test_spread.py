"""Means, intervals and correlations."""

from __future__ import annotations

import math

import pytest
from report_study import pearson, slow_ranks

from hf_ruleextrap.report.spread import rank_correlation, t_quantile

T95 = {2: 12.7062, 3: 4.3027, 4: 3.1824}


class TestStatistics:
    def test_students_t_is_that_of_the_tables(self) -> None:
        known = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 9: 2.26216, 29: 2.04523, 1000: 1.96234}
        for df, quantile in known.items():
            assert t_quantile(df) == pytest.approx(quantile, abs=2e-4)

    @pytest.mark.parametrize("seed", range(4))
    def test_a_rank_correlation_is_spearman_s(self, seed: int) -> None:
        import random

        rng = random.Random(seed)
        # Few values, so that there are ties.
        x, y = ([float(rng.randint(0, 6)) for _ in range(9)] for _ in range(2))
        found = rank_correlation(x, y)
        rho = pearson(slow_ranks(x), slow_ranks(y))
        assert found.value == pytest.approx(rho)
        assert found.low is not None
        assert found.high is not None
        # Bonett and Wright's interval, written out.
        half = 1.959964 * math.sqrt((1 + rho * rho / 2) / (9 - 3))
        ends = [math.tanh(math.atanh(rho) + sign * half) for sign in (-1, 1)]
        assert [found.low, found.high] == pytest.approx(ends, abs=1e-6)

    def test_within_strata_only_what_differs_within_counts(self) -> None:
        # Falling within each, rising over both: Simpson's paradox.
        x, y, strata = [1, 2, 3, 11, 12, 13], [3, 2, 1, 13, 12, 11], "aaabbb"
        pooled, within = rank_correlation(x, y), rank_correlation(x, y, strata=strata)
        assert pooled.value is not None
        assert pooled.value > 0
        assert within.value == -1

    def test_seeds_of_one_model_count_once_in_the_interval(self) -> None:
        x, y = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10], [1.0, 3, 2, 5, 4, 7, 6, 9, 8, 10]
        alone, together = rank_correlation(x, y), rank_correlation(x, y, units="aabbccddee")
        assert alone.value == together.value
        assert alone.low is not None
        assert together.low is not None
        assert together.low < alone.low
        assert rank_correlation(x, y, units="aaaabbbbcc").low is None

    @pytest.mark.parametrize(
        ("x", "y"), [([], []), ([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0]), ([1.0] * 5, [1.0, 2, 3, 4, 5])]
    )
    def test_what_has_no_correlation_says_so(self, x: list[float], y: list[float]) -> None:
        found = rank_correlation(x, y)
        assert (found.value, found.low, found.high, found.n) == (None, None, None, len(x))
        assert "undefined" in str(found)
