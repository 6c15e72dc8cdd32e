"""All statistics of a study: its combinations, its pairs of runs with equal loss, and its correlations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from statistics import mean
from typing import Literal

from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.formal.measures import MEASURES, Complexity, complexity

from .combinations import (
    Combination,
    EqualLoss,
    PairKind,
    Verdict,
    combinations_of,
    equal_loss,
    equal_pairs,
    judged,
    main_combinations,
    way_of,
)
from .record import Run
from .rows import Model, Row, language_of, level_of
from .statistics import Correlation, holm, is_significant, rank_correlation, scaled_ranks

FEWEST_LANGUAGES = 3
"""The smallest number of languages for a correlation over languages."""

Outcome = Literal["way", "learning time"]
LANGUAGE_CAUSES = ("level", *MEASURES)
"""The properties of a language with which outcomes are correlated."""

OUTCOMES: tuple[Outcome, ...] = ("way", "learning time")


@dataclass(frozen=True)
class Relation:
    """A rank correlation of an outcome of the runs with a property of their language, or with their loss.

    Attributes:
        outcome: The way from the best baseline to the ceiling, or the learning time.
        cause: ``level``, ``loss``, or the name of a measure of complexity.
        correlation: The correlation, with its own p-value.
        corrected: The p-value after Holm's correction for all correlations of the report.
    """

    outcome: Outcome
    cause: str
    correlation: Correlation
    corrected: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the outcome does not follow from the cause.

        The claim is contradicted by a significant correlation, and supported by an interval within ± 0.5.
        """
        if is_significant(self.corrected):
            return "contradicted"
        low, high = self.correlation.low, self.correlation.high
        return "supported" if low is not None and high is not None and low > -0.5 and high < 0.5 else "open"


@dataclass(frozen=True)
class Analysis:
    """The statistics of a study.

    Attributes:
        rows: All rows of the tables.
        combinations: One combination for each language and model, with all variants.
        equal: The pairs of equal loss: first those over seeds, optimizers and architectures together, then those of
            each kind.
        relations: The correlations, by outcome and cause.
    """

    rows: Sequence[Row]
    combinations: Sequence[Combination]
    equal: Sequence[EqualLoss]
    relations: dict[tuple[Outcome, str], Relation]

    @cached_property
    def main(self) -> list[Combination]:
        """The combinations of the recipes with the most runs, from which the claims are judged."""
        return main_combinations(self.combinations)

    @property
    def verdict(self) -> Verdict:
        """Whether most models keep the other rule: whether more than half of the judged combinations are above."""
        directions = [combination.direction for combination in self.main if combination.judged]
        above, unclear = (directions.count(direction) for direction in ("above", "unclear"))
        if 2 * above > len(directions):
            return "supported"
        return "contradicted" if directions and 2 * (above + unclear) <= len(directions) else "open"


def analyze(runs: Sequence[Run], rows: Sequence[Row]) -> Analysis:
    """Compute the statistics of a study.

    Args:
        runs: All runs.
        rows: The rows of all tables.
    """
    combinations = combinations_of(runs)
    main = judged(main_combinations(combinations))
    others = judged(
        [
            combination
            for combination in combinations
            if (combination.language, combination.model) not in {(c.language, c.model) for c in main}
        ]
    )
    by_name = {(combination.language, combination.model): combination for combination in (*main, *others)}
    pairs, tested = equal_pairs(runs)
    kinds: list[tuple[PairKind, ...]] = [("seed", "optimizer", "architecture")]
    kinds += [(kind,) for kind in ("seed", "optimizer", "architecture", "objective")]
    relations = _relations(main)
    corrected = holm([relation.correlation.p for relation in relations])
    return Analysis(
        rows,
        [by_name[combination.language, combination.model] for combination in combinations],
        [equal_loss(kind, pairs, tested) for kind in kinds],
        {
            (relation.outcome, relation.cause): replace(relation, corrected=p)
            for relation, p in zip(relations, corrected, strict=True)
        },
    )


def _relations(combinations: Sequence[Combination]) -> list[Relation]:
    """Correlate both outcomes with the level and the measures of complexity, and the way with the loss."""
    relations = [
        Relation(outcome, cause, _over_languages(combinations, outcome, cause))
        for outcome, cause in itertools.product(OUTCOMES, LANGUAGE_CAUSES)
    ]
    return [*relations, Relation("way", "loss", _with_loss(combinations))]


def _over_languages(combinations: Sequence[Combination], outcome: Outcome, cause: str) -> Correlation:
    """Correlate an outcome with a property of the language.

    The property is the same for all runs of a language, so the languages are the cases: more seeds or models make each
    case more precise, and do not make more cases. The outcome of a language is the mean rank of its runs among the runs
    of the same model, averaged first over seeds and then over models.
    """
    known = [
        (combination, x, value)
        for combination in combinations
        for run, value in outcomes(combination, outcome)
        if (x := cause_of(run, cause)) is not None
    ]
    ranks = scaled_ranks([value for _, _, value in known], [combination.model for combination, _, _ in known])
    by_combination: dict[tuple[str, Model], list[float]] = {}
    properties: dict[str, float] = {}
    for (combination, x, _), rank in zip(known, ranks, strict=True):
        by_combination.setdefault((combination.language, combination.model), []).append(float(rank))
        properties.setdefault(combination.language, x)
    means = {
        language: mean(mean(group) for (name, _), group in by_combination.items() if name == language)
        for language in properties
    }
    if len(means) < FEWEST_LANGUAGES:
        return Correlation(None, None, None, len(means))
    return rank_correlation(list(properties.values()), [round(value, 12) for value in means.values()])


def _with_loss(combinations: Sequence[Combination]) -> Correlation:
    """Correlate the way with the excess loss within languages; languages and models are crossed, seeds replicates."""
    known = [
        (combination, loss, value)
        for combination in combinations
        for run, value in outcomes(combination, "way")
        if (loss := run.excess) is not None and math.isfinite(loss)
    ]
    languages, models = (
        [combination.language for combination, _, _ in known],
        [combination.model for combination, _, _ in known],
    )
    losses, ways = [loss for _, loss, _ in known], [value for _, _, value in known]
    return rank_correlation(losses, ways, factors=(languages, models), strata=languages)


def outcomes(combination: Combination, outcome: Outcome) -> list[tuple[Run, float]]:
    """Return the runs with a known outcome; the learning time of a run that never learned is infinite."""
    if outcome == "way":
        return [(run, way.value) for run in combination.learned if (way := way_of(run)) is not None]
    known = [run for run in combination.runs if run.learned is False or run.learned_at is not None]
    return [(run, math.inf if run.learned_at is None else float(run.learned_at)) for run in known]


def cause_of(run: Run, cause: str) -> float | None:
    """Return the level or a measure of complexity of the language of a run; None where it is unknown."""
    name = run.recipe.language
    if cause == "level":
        return float(LEVELS.index(level_of(name))) if level_of(name) in LEVELS else None
    value = getattr(_complexity(name, run.recipe.max_length), cause, None)
    return None if value is None else float(value)


@cache
def _complexity(name: str, max_length: int) -> Complexity | None:
    language = language_of(name)
    return None if language is None else complexity(language, max_length=max_length)
