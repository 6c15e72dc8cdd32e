"""The combinations of a language and a model in a study, and the pairs of their runs with equal test loss.

The unit of all statistics is a run. Only runs that have learned their language have an OOD rate here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from hf_ruleextrap.evaluation.references import CEILING
from hf_ruleextrap.sweep.grid import key_without_seed
from hf_ruleextrap.train.recipe import Recipe

from .record import BASELINES, HEADLINE, Run
from .rows import Model, corrected_runs, source_of
from .statistics import LEVEL, Spread, benjamini_hochberg, interval_tail, t_tail

FEWEST_RUNS = 4
"""The smallest number of learned runs of a combination from which the report concludes anything."""

Verdict = Literal["supported", "contradicted", "open"]
"""The answer to a claim; the report's section on its method states what each word means for each claim."""

Direction = Literal["above", "below", "unclear", "too few runs", "no scale"]


@dataclass(frozen=True)
class Way:
    """The OOD rate of one run between the best baseline (0) and the ceiling (1).

    Attributes:
        value: (rate - baseline) / (ceiling - baseline).
        low, high: The same number for each end of the rate's interval over prompts.
        baseline: The best rate of a baseline on the prompts of the run.
        ceiling: The ceiling on the prompts of the run.
    """

    value: float
    low: float
    high: float
    baseline: float
    ceiling: float


def way_of(run: Run) -> Way | None:
    """Return the way of a run from the best baseline to the ceiling; None where a number is missing."""
    rate = run.rates.get(HEADLINE)
    baselines = [known for name in BASELINES if (known := run.reference_rate(name)) is not None]
    ceiling = run.reference_rate(CEILING)
    if rate is None or rate.rate is None or not baselines or ceiling is None or ceiling <= max(baselines):
        return None
    baseline = max(baselines)

    def scaled(value: float | None) -> float:
        return math.nan if value is None else (value - baseline) / (ceiling - baseline)

    return Way(scaled(rate.rate), scaled(rate.low), scaled(rate.high), baseline, ceiling)


def mean_ends(ways: Sequence[Way]) -> tuple[float, float]:
    """Return the mean baseline and the mean ceiling of at least one way."""
    return sum(way.baseline for way in ways) / len(ways), sum(way.ceiling for way in ways) / len(ways)


@dataclass(frozen=True)
class Combination:
    """All runs of one language and one model.

    Attributes:
        language: The name of the language.
        model: The architecture and the variant.
        runs: All runs, whether they have learned the language or not.
        corrected: The smallest false discovery rate at which the combination differs from its baseline, among all
            judged combinations; None for a combination that is not judged.
    """

    language: str
    model: Model
    runs: tuple[Run, ...]
    corrected: float | None = None

    @property
    def label(self) -> str:
        """The name of the model, with its variant in brackets."""
        name, variant = self.model
        return f"{name} ({variant})" if variant else name

    @cached_property
    def learned(self) -> list[Run]:
        """The runs that have learned the language."""
        return [run for run in self.runs if run.learned]

    @cached_property
    def ways(self) -> list[Way]:
        """The ways of the learned runs."""
        return [way for run in self.learned if (way := way_of(run)) is not None]

    @cached_property
    def spread(self) -> Spread:
        """The mean way over runs. The interval is the wider one at each end: over runs, or over prompts."""
        spread = Spread.over([way.value for way in self.ways], rate=False)
        if spread.low is None or spread.high is None:
            return spread
        low, high = self._over_prompts
        return replace(spread, low=min(spread.low, low), high=max(spread.high, high))

    @cached_property
    def _over_prompts(self) -> tuple[float, float]:
        """The mean of the runs' own intervals over their prompts."""
        return float(np.mean([way.low for way in self.ways])), float(np.mean([way.high for way in self.ways]))

    @property
    def judged(self) -> bool:
        """Whether the combination has enough learned runs for a verdict."""
        return len(self.ways) >= FEWEST_RUNS

    @cached_property
    def p(self) -> float | None:
        """The p-value of the mean way against 0; None for a combination that is not judged.

        The value is the larger of two p-values: Student's t over runs, and the mean of the runs' intervals over their
        prompts. The first p-value alone would be 0 wherever all runs agree, even on three prompts.
        """
        if not self.judged:
            return None
        spread = Spread.over([way.value for way in self.ways], rate=False)
        assert spread.mean is not None
        assert spread.std is not None
        error = spread.std / math.sqrt(spread.n)
        over_runs = t_tail(spread.mean / error, spread.n - 1) if error else float(spread.mean == 0)
        return max(over_runs, interval_tail(spread.mean, *self._over_prompts, 0.0))

    @property
    def direction(self) -> Direction:
        """Whether the mean way is above or below the best baseline, at a false discovery rate of 5 %.

        There is no scale where the runs have learned and have no way, because the best baseline is at the ceiling.
        """
        if self.corrected is None:
            return "no scale" if len(self.learned) >= FEWEST_RUNS else "too few runs"
        if self.corrected > LEVEL:
            return "unclear"
        return "above" if (self.spread.mean or 0.0) > 0 else "below"

    @cached_property
    def changes(self) -> list[tuple[float, float]]:
        """The OOD rates of the learned runs at the evaluation where they had learned, and at their last evaluation."""
        curves = [list(run.rates_since_learning().values()) for run in self.learned]
        return [(curve[0], curve[-1]) for curve in curves if len(curve) > 1]


def combinations_of(runs: Sequence[Run]) -> list[Combination]:
    """Return the combinations whose recipes are corrected and train only on words, languages in Chomsky order."""
    return [
        Combination(language, model, tuple(group))
        for (language, model), group in corrected_runs(runs).items()
        if source_of(group[0].recipe) == "ours"
    ]


def main_combinations(combinations: Iterable[Combination]) -> list[Combination]:
    """Return the combination with the most runs of each language and architecture; all where none has the most."""
    combinations = list(combinations)
    plain = {(combination.language, combination.model[0]) for combination in combinations if not combination.model[1]}
    return [
        combination
        for combination in combinations
        if not combination.model[1] or (combination.language, combination.model[0]) not in plain
    ]


def judged(combinations: Sequence[Combination]) -> list[Combination]:
    """Return the combinations with p-values that are corrected for their number (Benjamini and Hochberg)."""
    return [
        replace(combination, corrected=p)
        for combination, p in zip(combinations, benjamini_hochberg([c.p for c in combinations]), strict=True)
    ]


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
# Runs that differ in one of these keys have other words, or other prompts on which their rates cannot be compared.
_OTHER_TASK = {
    *("language", "paper", "max_length", "train_size", "held_out_size", "disjoint", "noise"),
    *("prompt_length", "max_new_symbols"),
}
_ELSEWHERE = {"seed", "output_dir", "use_cpu", "push_to_hub", "hub_organization", "report_to", "by_length"}


@dataclass(frozen=True)
class Pair:
    """Two learned runs of one language whose test losses are equal within `TOLERANCE`.

    Attributes:
        kind: The difference between the two recipes.
        first, second: The two runs.
        apart: The absolute difference between their OOD rates.
        clear: Whether the 95 % interval of that difference over prompts excludes 0 (R. G. Newcombe, Statistics in
            Medicine 17, 1998, method 10).
    """

    kind: PairKind
    first: Run
    second: Run
    apart: float
    clear: bool


@dataclass(frozen=True)
class EqualLoss:
    """The pairs of one or several kinds, and how far apart their OOD rates are.

    Attributes:
        kinds: The kinds of the pairs.
        pairs: The pairs with equal loss.
        tested: The number of pairs whose losses were compared.
        mean: The mean difference between the OOD rates; None without a pair.
        low, high: The 95 % interval of the mean, from resampling the runs of each combination; None without a pair.
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
    """Return in what two recipes differ; None where they have other words or prompts, or differ in something else."""
    differing = {key for key in Recipe.model_fields if getattr(a, key) != getattr(b, key)} - _ELSEWHERE
    if differing & _OTHER_TASK:
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
    groups = [[run for run in group if run.learned] for group in corrected_runs(runs).values()]
    groups = [group for group in groups if len(group) >= FEWEST_RUNS]
    for first, second in itertools.combinations_with_replacement(groups, 2):
        kind = pair_kind(first[0].recipe, second[0].recipe)
        couples = itertools.combinations(first, 2) if first is second else itertools.product(first, second)
        for a, b in couples if kind else ():
            equal = equal_losses(a, b)
            if kind is None or equal is None or a.ood_rate is None or b.ood_rate is None:
                continue
            if kind == "seed" and a.recipe.seed == b.recipe.seed:
                # The same training, which two recipes evaluate at other lengths.
                continue
            tested[kind] = tested.get(kind, 0) + 1
            if equal:
                pairs.append(Pair(kind, a, b, *_difference(a, b)))
    return pairs, tested


def _difference(a: Run, b: Run) -> tuple[float, bool]:
    """Return how far apart the OOD rates of two runs are, and whether the interval of the difference excludes 0."""
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
        return EqualLoss(kinds, chosen, number)
    runs = list({run.key: run for pair in chosen for run in (pair.first, pair.second)}.values())
    place = {run.key: i for i, run in enumerate(runs)}
    first, second = (
        np.array([place[run.key] for run in side]) for side in zip(*((p.first, p.second) for p in chosen), strict=True)
    )
    apart = np.array([pair.apart for pair in chosen])
    combinations: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        combinations.setdefault(key_without_seed(run.recipe), []).append(i)
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
