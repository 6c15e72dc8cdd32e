"""All statistics of a study: its combinations, its pairs of runs with equal loss, and its correlations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import mean
from typing import Literal

from hf_ruleextrap.evaluation.references import GREEDY
from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.formal.measures import MEASURES, Complexity, complexity
from hf_ruleextrap.formal.rational import LEARNERS

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
from .record import HEADLINE, Run
from .rows import Model, Row, language_of, level_of
from .statistics import Correlation, corrected, rank_correlation, scaled_ranks

FEWEST_LANGUAGES = 3
"""The smallest number of languages for a correlation over languages."""

Outcome = Literal["way", "learning time"]
LANGUAGE_CAUSES = ("level", *MEASURES)
"""The properties of a language with which outcomes are correlated."""

OUTCOMES: tuple[Outcome, ...] = ("way", "learning time")


@dataclass(frozen=True)
class Analysis:
    """The statistics of a study.

    Attributes:
        rows: All rows of the tables.
        combinations: One combination for each language and model, with all variants.
        equal: The pairs of equal loss: first those over seeds, optimizers and architectures together, then those of
            each kind.
        correlations: The rank correlation of each outcome of the runs with each cause, by (outcome, cause). A cause is
            ``level``, ``loss``, or the name of a measure of complexity.
    """

    rows: Sequence[Row]
    combinations: Sequence[Combination]
    equal: Sequence[EqualLoss]
    correlations: dict[tuple[Outcome, str], Correlation]

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

    def reference_rate(self, language: str, name: str) -> float | None:
        """Return the mean OOD rate of a reference on the prompts of the corrected runs; None where it is unknown."""
        key = (language, name, "corrected")
        spreads = (row.values.get(HEADLINE) for row in self.rows if (row.language, row.source, row.way) == key)
        return next((spread.mean for spread in spreads if spread is not None), None)

    def learner_rates(self, language: str) -> dict[str, float]:
        """Return the known OOD rates of the greedy completions of the rational learners, by learner."""
        rates = {learner: self.reference_rate(language, f"{learner}{GREEDY}") for learner in LEARNERS}
        return {learner: rate for learner, rate in rates.items() if rate is not None}

    def independence(self, cause: str) -> Verdict:
        """Return the verdict on the claim that no outcome follows from a cause.

        A correlation contradicts the claim if it is significant, and supports it if its interval lies within ± 0.5.
        """
        correlations = [self.correlations[outcome, cause] for outcome in OUTCOMES]
        if any(each.is_significant for each in correlations):
            return "contradicted"
        ends = [end for each in correlations for end in (each.low, each.high)]
        return "supported" if all(end is not None and abs(end) < 0.5 for end in ends) else "open"


def analyze(runs: Sequence[Run], rows: Sequence[Row]) -> Analysis:
    """Compute the statistics of a study.

    Args:
        runs: All runs.
        rows: The rows of all tables.
    """
    combinations = combinations_of(runs)
    names = [(each.language, each.model) for each in combinations]
    main = main_combinations(combinations)
    others = [each for each in combinations if each not in main]
    pairs, tested = equal_pairs(runs)
    kinds: list[tuple[PairKind, ...]] = [("seed", "optimizer", "architecture")]
    kinds += [(kind,) for kind in ("seed", "optimizer", "architecture", "objective")]
    correlations: dict[tuple[Outcome, str], Correlation] = {
        (outcome, cause): _over_languages(main, outcome, cause)
        for outcome, cause in itertools.product(OUTCOMES, LANGUAGE_CAUSES)
    }
    correlations["way", "loss"] = _with_loss(main)
    return Analysis(
        rows,
        sorted([*judged(main), *judged(others)], key=lambda each: names.index((each.language, each.model))),
        [equal_loss(kind, pairs, tested) for kind in kinds],
        corrected(correlations),
    )


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
    """Return the runs with a known outcome; the learning time of a run that has not learned is infinite."""
    if outcome == "way":
        return [(run, way.value) for run in combination.learned if (way := way_of(run)) is not None]
    times = [(run, math.inf if run.learned is False else run.learned_at) for run in combination.runs]
    return [(run, float(time)) for run, time in times if time is not None]


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
