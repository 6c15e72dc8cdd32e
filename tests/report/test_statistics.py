"""Means, intervals, corrections for many comparisons, and rank correlations over crossed designs."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from crossed import DESIGNS, NULLS, correlations, excludes_zero
from studies import pearson, rate, slow_ranks

from hf_ruleextrap.report.statistics import (
    benjamini_hochberg,
    holm,
    interval_tail,
    power,
    rank_correlation,
    t_quantile,
    t_tail,
)


def test_t_quantiles_are_those_of_the_tables() -> None:
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
    observed = rate(hits)
    assert observed.rate is not None
    assert observed.low is not None
    assert observed.high is not None
    p = interval_tail(observed.rate, observed.low, observed.high, value)
    assert (p > 0.05) == (observed.low <= value <= observed.high)


def test_holm_and_benjamini_hochberg_give_the_known_values() -> None:
    p_values = [0.01, None, 0.02, 0.03, 0.5]
    # Four comparisons. The comparison without a p-value does not count.
    assert holm(p_values) == pytest.approx([0.04, None, 0.06, 0.06, 0.5])
    assert benjamini_hochberg(p_values) == pytest.approx([0.04, None, 0.04, 0.04, 0.5])
    assert holm([]) == benjamini_hochberg([]) == []


def test_holm_controls_the_family_wise_error_and_benjamini_hochberg_the_false_discovery_rate() -> None:
    rng = np.random.default_rng(0)
    wrong = shares = 0.0
    for _ in range(400):
        # The null hypothesis holds in 15 comparisons and not in 5.
        p_values = [*rng.random(15), *rng.random(5) * 1e-3]
        wrong += min(p for p in holm(p_values)[:15] if p is not None) <= 0.05
        discoveries = [p is not None and p <= 0.05 for p in benjamini_hochberg(p_values)]
        shares += sum(discoveries[:15]) / max(1, sum(discoveries))
    assert wrong / 400 < 0.08
    assert shares / 400 < 0.06


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("effects", NULLS)
@pytest.mark.parametrize("design", DESIGNS)
def test_an_interval_of_unrelated_numbers_excludes_0_in_5_percent(design: str, effects: str, within: bool) -> None:
    simulated = correlations(DESIGNS[design], NULLS[effects], simulations=1000, within=within, permutations=300)
    share = np.mean([excludes_zero(correlation) for correlation in simulated])
    assert 0.03 <= share <= 0.08


@pytest.mark.parametrize("design", DESIGNS)
def test_an_interval_of_related_numbers_excludes_0(design: str) -> None:
    simulated = correlations(DESIGNS[design], (0, 1, 0), simulations=100, related=0.6, permutations=300)
    assert np.mean([excludes_zero(correlation) and correlation.value > 0 for correlation in simulated]) > 0.8  # type: ignore[operator]  # it has a value


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
    """Two languages, four architectures with equal effects in both, and three seeds are as uncertain as four pairs."""
    effect_on_x, effect_on_y = [1.0, 2, 3, 4], [2.0, 1, 3, 4]
    runs = [(language, model, seed) for language in "ab" for model in range(4) for seed in range(3)]
    x, y = ([effect[model] for _, model, _ in runs] for effect in (effect_on_x, effect_on_y))
    languages, models = [language for language, _, _ in runs], [model for _, model, _ in runs]
    correlation = rank_correlation(x, y, factors=(languages, models), strata=languages)
    permuted = [
        abs(pearson([effect_on_x[i] for i in order], effect_on_y)) for order in itertools.permutations(range(4))
    ]
    assert correlation.value == pytest.approx(pearson(effect_on_x, effect_on_y))
    assert correlation.p == pytest.approx(np.mean([value >= 0.8 - 1e-9 for value in permuted]), abs=0.02)
    # Two of the 24 permutations reach the correlation, so that it is not significant.
    assert correlation.low is None


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("models", [5, 6, 7])
def test_an_interval_excludes_0_exactly_if_the_p_value_is_significant(models: int, sign: int) -> None:
    rng = random.Random(models)
    for _ in range(40):
        x = [float(i) for i in range(models)]
        y = [sign * value + rng.gauss(0, 2) for value in x]
        correlation = rank_correlation(x, y, permutations=400)
        assert correlation.p is not None
        if correlation.low is not None:
            assert excludes_zero(correlation) == (correlation.p <= 0.05)


def test_incomplete_designs_have_wider_intervals() -> None:
    rng = random.Random(0)
    runs = [(language, model) for language in range(6) for model in range(5)]
    x = [rng.random() for _ in runs]
    y = [value + 0.8 * rng.random() for value in x]

    def interval_width(indices: Sequence[int]) -> float:
        languages, models = ([runs[i][factor] for i in indices] for factor in (0, 1))
        correlation = rank_correlation([x[i] for i in indices], [y[i] for i in indices], factors=(languages, models))
        assert correlation.low is not None
        assert correlation.high is not None
        return correlation.high - correlation.low

    assert interval_width(range(30)) < interval_width([i for i in range(30) if i % 4])


def test_strata_remove_the_differences_between_them() -> None:
    # The values fall within each stratum and rise over both strata (Simpson's paradox).
    x, y, strata = [1, 2, 3, 11, 12, 13], [3, 2, 1, 13, 12, 11], "aaabbb"
    pooled, within = rank_correlation(x, y), rank_correlation(x, y, strata=strata)
    assert pooled.value is not None
    assert pooled.value > 0
    assert within.value == -1


@pytest.mark.parametrize(
    ("x", "y"), [([], []), ([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0]), ([1.0] * 5, [1.0, 2, 3, 4, 5])]
)
def test_constant_or_too_few_numbers_have_no_correlation(x: list[float], y: list[float]) -> None:
    correlation = rank_correlation(x, y)
    assert (correlation.value, correlation.low, correlation.high, correlation.p, correlation.n) == (
        None,
        None,
        None,
        None,
        len(x),
    )


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
