"""Pairs of learned runs of one language with equal test loss, and how far apart their OOD rates are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hf_ruleextrap.train.recipe import Recipe

from .combinations import FEWEST_RUNS, HEADLINE, Verdict
from .record import Run
from .rows import in_chomsky_order, source_of, variants

TOLERANCE = 0.01
"""The largest difference between two test losses that count as equal, in nats per token."""

APART = 0.1
"""The mean difference between OOD rates from which the report calls the behaviour different."""

PairKind = Literal["seed", "optimizer", "architecture", "objective"]
"""The difference between the two recipes of a pair."""

_RESAMPLES = 2_000
# One-sided 5 % of the normal distribution.
_Z90 = 1.644854
_OPTIMIZER = {"optimizer", "learning_rate", "weight_decay"}
_OTHER_WORDS = {"language", "paper", "max_length", "train_size", "held_out_size", "disjoint", "noise"}
_ELSEWHERE = {"seed", "output_dir", "use_cpu", "push_to_hub", "hub_organization", "report_to", "by_length"}


@dataclass(frozen=True)
class Pair:
    """Two learned runs of one language whose test losses are equal within `TOLERANCE`.

    Attributes:
        kind: the difference between the two recipes.
        first, second: the two runs.
        apart: the absolute difference between their OOD rates.
        clear: whether the 95 % interval of that difference over prompts excludes 0 (R. G. Newcombe, Statistics in
            Medicine 17, 1998, method 10).
    """

    kind: PairKind
    first: Run
    second: Run
    apart: float
    clear: bool


@dataclass(frozen=True)
class EqualLoss:
    """The pairs of some kinds.

    Attributes:
        kinds: the kinds of the pairs.
        pairs: the pairs with equal loss.
        tested: the number of pairs whose losses were compared.
        mean: the mean difference between the OOD rates; None without a pair.
        low, high: its 95 % interval, from resampling the runs of each combination; None without a pair.
    """

    kinds: tuple[PairKind, ...]
    pairs: Sequence[Pair]
    tested: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether runs of equal loss behave differently: whether the mean difference is at least `APART`."""
        if self.low is None or self.high is None:
            return "open"
        return "supported" if self.low >= APART else "contradicted" if self.high < APART else "open"


def equal_losses(a: Run, b: Run) -> bool | None:
    """Test whether the losses of two runs are equivalent: two one-sided tests at 5 % (D. J. Schuirmann, 1987).

    The losses are equal where the 90 % interval of the difference of the excess losses, from their standard errors over
    test words, lies within `TOLERANCE`.

    Returns:
        Whether they are equal; None where a loss has no standard error.
    """
    if a.excess is None or b.excess is None or a.excess_error is None or b.excess_error is None:
        return None
    return abs(a.excess - b.excess) + _Z90 * math.hypot(a.excess_error, b.excess_error) < TOLERANCE


def pair_kind(a: Recipe, b: Recipe) -> PairKind | None:
    """Return in what two recipes differ; None where the two train on other words, or differ in something else."""
    differing = {key for key in Recipe.model_fields if getattr(a, key) != getattr(b, key)} - _ELSEWHERE
    if differing & _OTHER_WORDS:
        return None
    if "objective" in differing:
        return None if "architecture" in differing else "objective"
    if source_of(a) != "ours":
        return None
    if "architecture" in differing:
        return "architecture"
    if differing:
        return "optimizer" if differing <= _OPTIMIZER else None
    return "seed"


def equal_pairs(runs: Sequence[Run]) -> tuple[list[Pair], dict[PairKind, int]]:
    """Return the pairs of learned runs with equal loss, and the number of tested pairs of each kind."""
    pairs: list[Pair] = []
    tested: dict[PairKind, int] = {}
    for language in in_chomsky_order(run.recipe.language for run in runs):
        plain = [run for run in runs if run.recipe.language == language and not run.recipe.paper]
        groups = [[run for run in group if run.learned] for group in variants(plain).values()]
        groups = [group for group in groups if len(group) >= FEWEST_RUNS]
        for first, second in itertools.combinations_with_replacement(groups, 2):
            kind = pair_kind(first[0].recipe, second[0].recipe)
            couples = itertools.combinations(first, 2) if first is second else itertools.product(first, second)
            for a, b in couples if kind else ():
                equal = equal_losses(a, b)
                if kind is None or equal is None or a.rates[HEADLINE].rate is None or b.rates[HEADLINE].rate is None:
                    continue
                tested[kind] = tested.get(kind, 0) + 1
                if equal:
                    apart, clear = _difference(a, b)
                    pairs.append(Pair(kind, a, b, apart, clear))
    return pairs, tested


def _difference(a: Run, b: Run) -> tuple[float, bool]:
    upper, lower = sorted((a.rates[HEADLINE], b.rates[HEADLINE]), key=lambda rate: -(rate.rate or 0.0))
    assert upper.rate is not None
    assert upper.low is not None
    assert lower.rate is not None
    assert lower.high is not None
    apart = upper.rate - lower.rate
    return apart, apart > math.hypot(upper.rate - upper.low, lower.high - lower.rate)


def equal_loss(kinds: tuple[PairKind, ...], pairs: Sequence[Pair], tested: dict[PairKind, int]) -> EqualLoss:
    """Return the statistics of the pairs of some kinds."""
    chosen = [pair for pair in pairs if pair.kind in kinds]
    number = sum(tested.get(kind, 0) for kind in kinds)
    if not chosen:
        return EqualLoss(kinds, chosen, number, None, None, None)
    runs = list({run.key: run for pair in chosen for run in (pair.first, pair.second)}.values())
    place = {run.key: i for i, run in enumerate(runs)}
    first, second = (
        np.array([place[run.key] for run in side]) for side in zip(*((p.first, p.second) for p in chosen), strict=True)
    )
    apart = np.array([pair.apart for pair in chosen])
    combinations: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        combinations.setdefault(repr(run.recipe.model_copy(update={"seed": 0, "output_dir": ""})), []).append(i)
    rng = np.random.default_rng(0)
    counts = np.zeros((_RESAMPLES, len(runs)))
    for members in combinations.values():
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), _RESAMPLES)
    means = []
    for drawn in counts:
        weights = drawn[first] * drawn[second]
        if weights.any():
            means.append(float(weights @ apart / weights.sum()))
    low, high = np.quantile(means, [0.025, 0.975])
    return EqualLoss(kinds, chosen, number, float(apart.mean()), float(low), float(high))
