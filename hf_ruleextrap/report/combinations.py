"""The combinations of a language and a model in a study, and their way from the best baseline to the ceiling.

The unit of all statistics is a run. Only runs that have learned their language have an OOD rate here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from hf_ruleextrap.evaluation.references import CEILING

from .record import BASELINES, Run
from .rows import Model, in_chomsky_order, source_of, variants
from .statistics import LEVEL, Spread, benjamini_hochberg, interval_tail, t_tail

FEWEST_RUNS = 4
"""The smallest number of learned runs of a combination from which the report concludes anything."""

HEADLINE = "ood_headline"
"""The column whose rates the claims are about."""

Verdict = Literal["supported", "contradicted", "open"]
"""The answer to a claim; the report's section on its method states what each word means for each claim."""

Direction = Literal["above", "below", "unclear", "too few runs"]


@dataclass(frozen=True)
class Way:
    """The OOD rate of one run between the best baseline (0) and the ceiling (1).

    Attributes:
        value: (rate - baseline) / (ceiling - baseline).
        low, high: the same for the ends of the rate's interval over prompts.
        baseline: the best rate of a baseline on the prompts of the run.
        ceiling: the ceiling on the prompts of the run.
    """

    value: float
    low: float
    high: float
    baseline: float
    ceiling: float


def way_of(run: Run) -> Way | None:
    """Return the way of a run from the best baseline to the ceiling; None where a number is missing."""
    rate = run.rates.get(HEADLINE)
    known = {
        name: rates[HEADLINE].rate for name, rates in run.references.items() if name in BASELINES and HEADLINE in rates
    }
    baselines = [value for value in known.values() if value is not None]
    ceiling = run.references[CEILING][HEADLINE].rate if HEADLINE in run.references.get(CEILING, {}) else None
    if rate is None or rate.rate is None or not baselines or ceiling is None or ceiling <= max(baselines):
        return None
    baseline = max(baselines)

    def scaled(value: float | None) -> float:
        return math.nan if value is None else (value - baseline) / (ceiling - baseline)

    return Way(scaled(rate.rate), scaled(rate.low), scaled(rate.high), baseline, ceiling)


@dataclass(frozen=True)
class Combination:
    """All runs of one language and one model.

    Attributes:
        language: the name of the language.
        model: the architecture and the variant.
        runs: all runs, learned or not.
        corrected: the smallest false discovery rate at which the combination differs from its baseline, among all
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
        """Whether the mean way is above or below the best baseline, at a false discovery rate of 5 %."""
        if self.corrected is None:
            return "too few runs"
        if self.corrected > LEVEL:
            return "unclear"
        return "above" if (self.spread.mean or 0.0) > 0 else "below"

    @cached_property
    def changes(self) -> list[tuple[float, float]]:
        """The OOD rates of the learned runs at the evaluation where they had learned, and at their last evaluation."""
        pairs = []
        for run in self.learned:
            rates = [
                check.ood_headline
                for check in run.checks
                if run.learned_at is not None and check.step >= run.learned_at and check.ood_headline is not None
            ]
            if len(rates) > 1:
                pairs.append((rates[0], rates[-1]))
        return pairs


def combinations_of(runs: Sequence[Run]) -> list[Combination]:
    """Return the combinations whose recipes are corrected and train only on words, languages in Chomsky order."""
    combinations = []
    for language in in_chomsky_order(run.recipe.language for run in runs):
        plain = [run for run in runs if run.recipe.language == language and not run.recipe.paper]
        combinations += [
            Combination(language, model, tuple(group))
            for model, group in variants(plain).items()
            if source_of(group[0].recipe) == "ours"
        ]
    return combinations


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
