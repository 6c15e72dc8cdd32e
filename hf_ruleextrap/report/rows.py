"""Runs as the rows of a table: one for each language and architecture, over its seeds; chance and the paper beside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.formal import LEVELS, Kind, Report
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.train.grid import key_of
from hf_ruleextrap.train.results import Results

# The paper's two rules stand first in every language.
_R1, _R2 = 0, 1

PAPER = json.loads((Path(__file__).parent / "paper.json").read_text(encoding="utf-8"))
"""The authors' figures, with their source: ``results[language][architecture][column]``."""


@dataclass(frozen=True)
class Spread:
    """A number over the runs that have it.

    Attributes:
        mean: over runs; None where no run has the number.
        std: with n - 1 in the denominator, as in the paper's tables; None for fewer than two runs.
        n: how many runs.
    """

    mean: float | None
    std: float | None
    n: int

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Spread:
        """Of what is not None.

        >>> Spread.over([1.0, None, 3.0])
        Spread(mean=2.0, std=1.4142135623730951, n=2)
        """
        known = [value for value in values if value is not None]
        mean = float(np.mean(known)) if known else None
        return cls(mean, float(np.std(known, ddof=1)) if len(known) > 1 else None, len(known))


COLUMNS = {
    "test_loss": "test loss [nats]",
    "id_r1": "ID R1",
    "id_r2": "ID R2",
    "ood_r1": "OOD R1",
    "ood_r2_completion": "OOD R2 completion",
    "ood_headline": "OOD every open rule",
    "ood_finished": "OOD finished",
}
"""The columns of a row, and their headings. The first five are those of the authors' tables."""

SOURCES = {
    "ours": "ours, over all prompts",
    "ours_finished": "ours, finished only",
    "authors": "authors, finished only",
    "chance": "chance, over all prompts",
}
"""Where a row's numbers are from."""


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        language: its name.
        architecture: its name; empty for chance.
        variant: tells apart runs of the same language and architecture that differ in more than the seed; else empty.
        source: one of `SOURCES`.
        values: the columns it has.
    """

    language: str
    architecture: str
    variant: str
    source: str
    values: dict[str, Spread]


def summarize(results: Sequence[Results]) -> list[Row]:
    """The rows of some runs, by language in Chomsky order, architecture and source.

    Seeds of the same recipe make one row. The authors' row stands under the first variant, for comparison: their
    models and words are larger, unless the recipe says otherwise.
    """
    rows = []
    for language in languages_of(results):
        of_language = [run for run in results if run.recipe.language == language]
        for architecture in architectures_of(of_language):
            variants: dict[str, list[Results]] = {}
            for run in of_language:
                if run.recipe.architecture == architecture:
                    variants.setdefault(_variant(run), []).append(run)
            for name, runs in variants.items():
                label = name if len(variants) > 1 else ""
                rows.append(Row(language, architecture, label, "ours", _spreads(runs, _of_run)))
                rows.append(Row(language, architecture, label, "ours_finished", _spreads(runs, _among_finished)))
            theirs = PAPER["results"].get(language, {}).get(architecture)
            if theirs:
                values = {column: Spread(**spread) for column, spread in theirs.items()}
                rows.append(Row(language, architecture, "", "authors", values))
        rows.append(Row(language, "", "", "chance", _spreads(of_language[:1], _of_chance)))
    return rows


def languages_of(results: Sequence[Results]) -> list[str]:
    """The languages of some runs, in Chomsky order, and by name within a level."""
    return sorted(
        {run.recipe.language for run in results}, key=lambda name: (LEVELS.index(get_language(name).level), name)
    )


def architectures_of(results: Sequence[Results]) -> list[str]:
    """The architectures of some runs, those of the paper first."""
    order = ["linear", "lstm", "transformer", "mamba", "xlstm"]
    found = {run.recipe.architecture for run in results}
    return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


def _variant(run: Results) -> str:
    return key_of(run.recipe.model_copy(update={"seed": 0})).rpartition("-")[2]


def _spreads(runs: Sequence[Results], get: Callable[[Results], dict[str, float | None]]) -> dict[str, Spread]:
    found = [get(run) for run in runs]
    return {column: Spread.over(values[column] for values in found) for column in found[0]}


def _of_run(run: Results) -> dict[str, float | None]:
    return {"test_loss": run.test.loss, **_rates(run.best, lambda evaluation, kind: evaluation.kinds[kind].report)}


def _of_chance(run: Results) -> dict[str, float | None]:
    return _rates(run.best, lambda evaluation, kind: evaluation.kinds[kind].chance)


def _among_finished(run: Results) -> dict[str, float | None]:
    columns = run.paper.minimum_loss
    names = {"id_r1": "id_rule_1_accuracy", "id_r2": "id_rule_2_accuracy", "ood_r1": "ood_rule_1_accuracy"}
    names["ood_r2_completion"] = "ood_rule_2_completion_accuracy"
    return {"test_loss": run.test_with_padding.loss} | {column: columns.get(name) for column, name in names.items()}


def _rates(evaluation: Evaluation, report_of: Callable[[Evaluation, Kind], Report]) -> dict[str, float | None]:
    inside, outside = report_of(evaluation, "id"), report_of(evaluation, "ood")
    id_rules, ood_rules = (list(report.rules.values()) for report in (inside, outside))
    return {
        "id_r1": id_rules[_R1].word.all.rate,
        "id_r2": id_rules[_R2].word.all.rate,
        "ood_r1": ood_rules[_R1].word.all.rate,
        "ood_r2_completion": ood_rules[_R2].completion.all.rate,
        "ood_headline": outside.headline.rate,
        "ood_finished": outside.finished.rate,
    }
