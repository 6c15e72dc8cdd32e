"""The statistics of a study, each computed once: comparisons with chance, and correlations with the OOD rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hf_ruleextrap.evaluation.references import CEILING, UNIFORM
from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.formal.measures import MEASURES, Complexity, complexity

from .correlation import LEVEL, Correlation, rank_correlation
from .record import Run
from .rows import Row, architectures, in_chomsky_order, language_of, level_of, source_of, variants
from .spread import benjamini_hochberg, holm, interval_tail, t_tail

COMPARED = ("ood_headline", "ood_r1", "ood_r2_completion")
"""The columns that are compared with chance."""

FEWEST_LANGUAGES = 3
"""The smallest number of languages for a correlation over languages."""


@dataclass(frozen=True)
class Point:
    """One run as a point of the correlations.

    Attributes:
        language: the name of the language.
        model: the architecture and the variant.
        max_length: the largest number of symbols in a training word.
        loss: the test loss without PAD in nats per token, minus the floor if the floor is known.
        floor: whether the floor is known.
        rate: the share of OOD prompts on which every open rule holds.
    """

    language: str
    model: tuple[str, str]
    max_length: int
    loss: float
    floor: bool
    rate: float


Direction = Literal["above", "below", "unclear"]


@dataclass(frozen=True)
class Verdict:
    """A mean rate compared with chance.

    Attributes:
        difference: the mean rate minus chance.
        p: the p-value of this comparison alone.
        corrected: the smallest false discovery rate at which this comparison is a discovery, among all pairs of a
            language and a model.
    """

    difference: float
    p: float
    corrected: float

    @property
    def direction(self) -> Direction:
        """The verdict, at a false discovery rate of 5 %."""
        return self._direction(self.corrected)

    @property
    def uncorrected(self) -> Direction:
        """The verdict of this comparison alone, at a level of 5 %."""
        return self._direction(self.p)

    def _direction(self, p: float) -> Direction:
        if p > LEVEL:
            return "unclear"
        return "above" if self.difference > 0 else "below"


@dataclass(frozen=True)
class Relation:
    """A correlation of the OOD rate with a possible cause.

    Attributes:
        cause: ``level``, ``loss`` or ``complexity``.
        over: a phrase for the runs or rates of this correlation.
        correlation: the correlation, with its own p-value.
        corrected: the p-value after Holm's correction for all correlations of the report.
        main: whether the report draws its conclusions from this correlation; the others are shown for orientation.
    """

    cause: Literal["level", "loss", "complexity"]
    over: str
    correlation: Correlation
    corrected: float | None = None
    main: bool = False


Measured = list[tuple[Point, float]]
"""Runs, each with the value of one complexity measure for its language."""


@dataclass(frozen=True)
class Analysis:
    """The statistics of a study.

    Attributes:
        rows: all rows of the tables.
        points: the runs of corrected recipes that have a loss and an OOD rate.
        relations: all correlations, by ``cause`` and ``over``.
        measures: for each complexity measure, the runs whose language has a value; empty for too few languages.
        verdicts: the comparisons with chance, by language, label of the row, and column.
    """

    rows: Sequence[Row]
    points: Sequence[Point]
    relations: dict[tuple[str, str], Relation]
    measures: dict[str, Measured]
    verdicts: dict[tuple[str, str, str], Verdict]

    @property
    def ours(self) -> list[Row]:
        """The rows of corrected recipes that train only on words of the language."""
        return [row for row in self.rows if row.source == "ours"]

    def correlation(self, cause: str, over: str) -> Correlation:
        """Return one correlation."""
        return self.relations[cause, over].correlation

    def main(self, cause: str) -> list[Relation]:
        """Return the correlations from which the report draws its conclusion on a cause."""
        return [relation for relation in self.relations.values() if relation.main and relation.cause == cause]


WITHIN, POOLED = "within languages, together", "pooled over languages"
"""Names of the two correlations of loss and rate over several languages."""


def analyze(runs: Sequence[Run], rows: Sequence[Row]) -> Analysis:
    """Compute the statistics of a study.

    Args:
        runs: all runs.
        rows: the rows of all tables.
    """
    run_points = points(runs)
    measures = measures_of(run_points)
    relations = [*_level_relations(rows), *_loss_relations(run_points), *complexity_relations(measures)]
    corrected = holm([relation.correlation.p for relation in relations])
    relations = [
        Relation(relation.cause, relation.over, relation.correlation, p, relation.main)
        for relation, p in zip(relations, corrected, strict=True)
    ]
    by_name: dict[tuple[str, str], Relation] = {(relation.cause, relation.over): relation for relation in relations}
    return Analysis(rows, run_points, by_name, measures, verdicts(rows))


def points(runs: Sequence[Run]) -> list[Point]:
    """Return the runs of corrected recipes with a loss and a rate, except those that trained on OOD prompts."""
    run_points = []
    for language in in_chomsky_order(run.recipe.language for run in runs):
        plain = [run for run in runs if run.recipe.language == language and source_of(run.recipe) == "ours"]
        for model, group in variants(plain).items():
            for run in group:
                rate = run.rates["ood_headline"].rate
                if rate is not None and math.isfinite(run.test_loss):
                    loss = run.test_loss - (run.test_floor or 0.0)
                    known = run.test_floor is not None
                    run_points.append(Point(language, model, run.recipe.max_length, loss, known, rate))
    return run_points


def _loss_relations(run_points: Sequence[Point]) -> list[Relation]:
    """Correlate loss and rate within languages, and pooled over the languages whose floor is known.

    Losses above the floor are comparable between languages. In the pooled correlation, however, a difference between
    languages looks like a difference between models (Simpson's paradox). Therefore the report shows both.
    """
    names = list(dict.fromkeys(point.language for point in run_points))
    groups = {name: [point for point in run_points if point.language == name] for name in names}
    within = _over_runs(run_points, [point.loss for point in run_points], within=True)
    pooled = [point for point in run_points if point.floor]
    return [
        Relation("loss", WITHIN, within, main=True),
        *(
            Relation("loss", f"within {name}", _over_runs(group, [point.loss for point in group]))
            for name, group in groups.items()
        ),
        Relation("loss", POOLED, _over_runs(pooled, [point.loss for point in pooled])),
    ]


def _over_runs(run_points: Sequence[Point], x: Sequence[float], *, within: bool = False) -> Correlation:
    """Correlate x with the rate over runs. Languages and models are crossed factors, and seeds are replicates."""
    languages, models = [point.language for point in run_points], [point.model for point in run_points]
    rates = [point.rate for point in run_points]
    return rank_correlation(x, rates, factors=(languages, models), strata=languages if within else None)


def _level_relations(rows: Sequence[Row]) -> list[Relation]:
    """Correlate the level with the rate over languages, for each model.

    The rate is rescaled so that chance is 0 and the ceiling is 1. The correlation of the plain rate is shown, too.
    """
    ours = [row for row in rows if row.source == "ours" and level_of(row.language) in LEVELS]
    relations = []
    for label in labels(ours):
        rates = [(row.language, mean(row, "ood_headline")) for row in ours if row.label == label]
        shares = [(language, _share(rows, language, rate)) for language, rate in rates]
        relations += [
            Relation("level", f"{label}, from chance to ceiling", _with_level(shares), main=True),
            Relation("level", f"{label}, plain rate", _with_level(rates)),
        ]
    return relations


def _share(rows: Sequence[Row], language: str, rate: float | None) -> float | None:
    """Return the rate on a scale from chance (0) to the ceiling (1); None where one of the numbers is missing."""
    chance, ceiling = (reference(rows, language, source, "ood_headline") for source in (UNIFORM, CEILING))
    if rate is None or chance is None or ceiling is None or ceiling <= chance:
        return None
    return (rate - chance) / (ceiling - chance)


def _with_level(rates: Sequence[tuple[str, float | None]]) -> Correlation:
    known = [(LEVELS.index(level_of(language)), rate) for language, rate in rates if rate is not None]
    return rank_correlation([level for level, _ in known], [rate for _, rate in known])


def measures_of(run_points: Sequence[Point]) -> dict[str, Measured]:
    """Return for each complexity measure the runs whose language has a value for that measure.

    The entropy rate is computed for words of at most the run's ``max_length`` symbols.
    """
    if len({point.language for point in run_points}) < FEWEST_LANGUAGES:
        return {}
    measured_runs = {}
    for measure in MEASURES:
        values = [
            (point, getattr(_complexity(point.language, point.max_length), measure, None)) for point in run_points
        ]
        measured_runs[measure] = [(point, float(value)) for point, value in values if value is not None]
    return measured_runs


def _complexity(name: str, max_length: int) -> Complexity | None:
    language = language_of(name)
    return None if language is None else complexity(language, max_length=max_length)


def complexity_relations(measures: dict[str, Measured]) -> list[Relation]:
    """Correlate each complexity measure with the OOD rate over runs."""
    return [
        Relation(
            "complexity",
            measure,
            _over_runs([point for point, _ in measured], [value for _, value in measured]),
            main=True,
        )
        for measure, measured in measures.items()
    ]


def labels(rows: Sequence[Row]) -> list[str]:
    """Return the labels of the rows, the paper's architectures first."""
    by_name = [row.label for name in architectures(row.name for row in rows) for row in rows if row.name == name]
    return list(dict.fromkeys(by_name))


def reference(rows: Sequence[Row], language: str, source: str, column: str) -> float | None:
    """Return the mean of a reference on the prompts of the corrected runs."""
    key = (language, source, "corrected")
    return next((mean(row, column) for row in rows if (row.language, row.source, row.way) == key), None)


def mean(row: Row, column: str) -> float | None:
    """Return the mean of one column of a row; None where the row does not have the column."""
    spread = row.values.get(column)
    return None if spread is None else spread.mean


def verdicts(rows: Sequence[Row]) -> dict[tuple[str, str, str], Verdict]:
    """Compare each rate of the corrected recipes with chance.

    Each column's p-values are corrected for the number of pairs of a language and a model (Benjamini and Hochberg). Of
    the pairs that are called above or below chance, at most 5 % are expected to be neither.
    """
    comparisons = {}
    for column in COMPARED:
        keys, differences, p_values = [], [], []
        for row in (row for row in rows if row.source == "ours"):
            chance = reference(rows, row.language, UNIFORM, column)
            rate = mean(row, column)
            p = None if chance is None or rate is None else against_chance(row, column, chance)
            if p is not None and chance is not None and rate is not None:
                keys.append((row.language, row.label, column))
                differences.append(rate - chance)
                p_values.append(p)
        for key, difference, p, corrected in zip(
            keys, differences, p_values, benjamini_hochberg(p_values), strict=True
        ):
            comparisons[key] = Verdict(difference, p, corrected or 0.0)
    return comparisons


def against_chance(row: Row, column: str, chance: float) -> float | None:
    """Return the p-value of a mean rate against chance; None for a rate without an interval.

    The value is the larger of two p-values. The first is that of Student's t over runs, for two or more runs. The
    second is that of the mean of the runs' own intervals over their prompts. The first p-value alone would be 0
    wherever all runs agree, even on three prompts.
    """
    spread, rates = row.values[column], row.rates.get(column, ())
    if spread.mean is None:
        return None
    p_values = []
    if spread.std is not None:
        error = spread.std / math.sqrt(spread.n)
        difference = abs(spread.mean - chance)
        p_values.append(t_tail(difference / error, spread.n - 1) if error else float(difference == 0))
    intervals = [(rate.low, rate.high) for rate in rates if rate.low is not None and rate.high is not None]
    if intervals:
        low, high = (sum(ends) / len(ends) for ends in zip(*intervals, strict=True))
        p_values.append(interval_tail(spread.mean, low, high, chance))
    return max(p_values, default=None)
