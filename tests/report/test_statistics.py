"""Means, intervals, corrections for many comparisons, and rank correlations over crossed designs."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from crossed import DESIGNS, NULLS, correlations, excludes_zero
from report_study import pearson, slow_ranks
from studies import rate

from hf_ruleextrap.report.statistics import (
    benjamini_hochberg,
    holm,
    interval_tail,
    power,
    rank_correlation,
    t_quantile,
    t_tail,
)


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


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("effects", NULLS)
@pytest.mark.parametrize("design", DESIGNS)
def test_an_interval_of_unrelated_numbers_leaves_out_0_in_5_percent(design: str, effects: str, within: bool) -> None:
    found = correlations(DESIGNS[design], NULLS[effects], simulations=1000, within=within, permutations=300)
    share = np.mean([excludes_zero(correlation) for correlation in found])
    assert 0.03 <= share <= 0.08


@pytest.mark.parametrize("design", DESIGNS)
def test_an_interval_of_related_numbers_leaves_out_0(design: str) -> None:
    found = correlations(DESIGNS[design], (0, 1, 0), simulations=100, related=0.6, permutations=300)
    assert np.mean([excludes_zero(correlation) and correlation.value > 0 for correlation in found]) > 0.8  # type: ignore[operator]  # it has a value


@pytest.mark.parametrize("seed", range(4))
def test_a_rank_correlation_is_spearman_s(seed: int) -> None:
    rng = random.Random(seed)
    # Few values, so that there are ties.
    x, y = ([float(rng.randint(0, 6)) for _ in range(9)] for _ in range(2))
    assert rank_correlation(x, y).value == pytest.approx(pearson(slow_ranks(x), slow_ranks(y)))


def test_the_p_value_is_the_share_of_all_permutations() -> None:
    x, y = [1.0, 2, 3, 4, 5, 6], [2.0, 1, 3, 5, 6, 4]
    observed = abs(pearson(x, y))
    exact = np.mean([abs(pearson(list(order), y)) >= observed - 1e-9 for order in itertools.permutations(x)])
    assert rank_correlation(x, y).p == pytest.approx(exact, abs=0.01)


def test_architectures_are_permuted_together_and_with_their_seeds() -> None:
    """Two languages, four architectures with equal effects in both, three seeds: as uncertain as four pairs."""
    effect_on_x, effect_on_y = [1.0, 2, 3, 4], [2.0, 1, 3, 4]
    runs = [(language, model, seed) for language in "ab" for model in range(4) for seed in range(3)]
    x, y = ([effect[model] for _, model, _ in runs] for effect in (effect_on_x, effect_on_y))
    languages, models = [language for language, _, _ in runs], [model for _, model, _ in runs]
    found = rank_correlation(x, y, factors=(languages, models), strata=languages)
    four = [abs(pearson([effect_on_x[i] for i in order], effect_on_y)) for order in itertools.permutations(range(4))]
    assert found.value == pytest.approx(pearson(effect_on_x, effect_on_y))
    assert found.p == pytest.approx(np.mean([value >= 0.8 - 1e-9 for value in four]), abs=0.02)
    # Of the 24 permutations, two reach 1, so that nothing is significant.
    assert found.low is None


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("models", [5, 6, 7])
def test_an_interval_leaves_out_0_just_where_the_p_value_says_so(models: int, sign: int) -> None:
    rng = random.Random(models)
    for _ in range(40):
        x = [float(i) for i in range(models)]
        y = [sign * value + rng.gauss(0, 2) for value in x]
        found = rank_correlation(x, y, permutations=400)
        assert found.p is not None
        if found.low is not None:
            assert excludes_zero(found) == (found.p <= 0.05)


def test_incomplete_designs_are_less_sure() -> None:
    rng = random.Random(0)
    runs = [(language, model) for language in range(6) for model in range(5)]
    x = [rng.random() for _ in runs]
    y = [value + 0.8 * rng.random() for value in x]

    def of(kept: Sequence[int]) -> float:
        languages, models = ([runs[i][factor] for i in kept] for factor in (0, 1))
        found = rank_correlation([x[i] for i in kept], [y[i] for i in kept], factors=(languages, models))
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    assert of(range(30)) < of([i for i in range(30) if i % 4])


def test_within_strata_only_what_differs_within_counts() -> None:
    # Falling within each, rising over both: Simpson's paradox.
    x, y, strata = [1, 2, 3, 11, 12, 13], [3, 2, 1, 13, 12, 11], "aaabbb"
    pooled, within = rank_correlation(x, y), rank_correlation(x, y, strata=strata)
    assert pooled.value is not None
    assert pooled.value > 0
    assert within.value == -1


@pytest.mark.parametrize(
    ("x", "y"), [([], []), ([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0]), ([1.0] * 5, [1.0, 2, 3, 4, 5])]
)
def test_what_has_no_correlation_says_so(x: list[float], y: list[float]) -> None:
    found = rank_correlation(x, y)
    assert (found.value, found.low, found.high, found.p, found.n) == (None, None, None, None, len(x))


def test_the_power_is_the_share_of_significant_studies() -> None:
    levels, rng = (0.0, 0, 1, 1, 2, 2), np.random.default_rng(3)
    x = (np.array(levels) - 1) / np.std(levels)
    significant = []
    for _ in range(200):
        study = 0.9 * x + math.sqrt(1 - 0.81) * rng.normal(size=6)
        significant.append((rank_correlation(levels, study.tolist(), permutations=400).p or 1.0) <= 0.05)
    assert power(levels, 0.9) == pytest.approx(np.mean(significant), abs=0.1)
    # Without a relation, at most 5 % are significant; ties make the test conservative.
    assert power(levels, 0.0) <= 0.06
