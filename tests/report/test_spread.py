"""Means, intervals and correlations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from studies import rate

from hf_ruleextrap.report.spread import benjamini_hochberg, holm, interval_tail, t_quantile, t_tail


def test_students_t_is_that_of_the_tables() -> None:
    known = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 9: 2.26216, 29: 2.04523, 1000: 1.96234}
    for df, quantile in known.items():
        assert t_quantile(df) == pytest.approx(quantile, abs=2e-4)


def test_a_tail_is_the_inverse_of_the_quantile() -> None:
    for df in (1, 2, 7, 50):
        assert t_tail(t_quantile(df), df) == pytest.approx(0.05, abs=1e-6)
    # Two degrees of freedom have a closed form.
    for t in (0.0, 0.3, 4.0, 60.0):
        assert t_tail(t, 2) == pytest.approx(1 - t / math.sqrt(t * t + 2), abs=1e-8)


@pytest.mark.parametrize(("hits", "value"), [(15, 0.5), (9, 0.5), (20, 0.8), (20, 0.9), (0, 0.1), (3, 0.4)])
def test_a_p_value_agrees_with_its_interval(hits: int, value: float) -> None:
    found = rate(hits)
    assert found.rate is not None
    assert found.low is not None
    assert found.high is not None
    p = interval_tail(found.rate, found.low, found.high, value)
    assert (p > 0.05) == (found.low <= value <= found.high)


def test_corrections_for_many_comparisons() -> None:
    p_values = [0.01, None, 0.02, 0.03, 0.5]
    # Four comparisons; the one that was not possible does not count.
    assert holm(p_values) == pytest.approx([0.04, None, 0.06, 0.06, 0.5])
    assert benjamini_hochberg(p_values) == pytest.approx([0.04, None, 0.04, 0.04, 0.5])
    assert holm([]) == benjamini_hochberg([]) == []


def test_holm_holds_its_level_over_all_comparisons_and_the_other_its_share_of_discoveries() -> None:
    rng = np.random.default_rng(0)
    wrong = shares = 0.0
    for _ in range(400):
        # 15 null hypotheses that hold, and 5 that do not.
        p_values = [*rng.random(15), *rng.random(5) * 1e-3]
        wrong += min(p for p in holm(p_values)[:15] if p is not None) <= 0.05
        discoveries = [p is not None and p <= 0.05 for p in benjamini_hochberg(p_values)]
        shares += sum(discoveries[:15]) / max(1, sum(discoveries))
    assert wrong / 400 < 0.08
    assert shares / 400 < 0.06
