"""Rank correlations over crossed designs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest
from crossed import DESIGNS, NULLS, correlations, excludes_zero
from report_study import pearson, slow_ranks

from hf_ruleextrap.report.correlation import rank_correlation


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
    assert "undefined" in str(found)
