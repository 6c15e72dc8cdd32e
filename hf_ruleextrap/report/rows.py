"""The rows of the tables: one for each language and model over its seeds, and rows for references and the paper."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hf_ruleextrap.evaluation.references import UNIFORM, heading
from hf_ruleextrap.formal import LEVELS, Language, Rate
from hf_ruleextrap.languages import recorded_language
from hf_ruleextrap.sweep.grid import key_of, key_without_seed
from hf_ruleextrap.train.recipe import Recipe

from .record import HEADLINE, REFERENCES, Run
from .statistics import Spread

PRESETS = ("linear", "lstm", "transformer", "mamba", "xlstm")
"""The paper's architectures, in its order."""

PAPER = json.loads((Path(__file__).parent / "paper.json").read_text(encoding="utf-8"))
"""The authors' numbers and their source: ``results[language][architecture][column]``."""

Way = Literal["corrected", "reproduced"]
"""The kind of table: rates over all prompts, or the authors' way of counting. Tables never mix the two."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: The heading of the column.
        digits: The number of digits after the decimal point.
        rate: Whether the numbers lie in [0, 1].
    """

    heading: str
    digits: int = 2
    rate: bool = True


COLUMNS = {
    "test_loss": Column("test loss", digits=4, rate=False),
    "excess": Column("excess loss", digits=4, rate=False),
    "id_r1": Column("ID R1"),
    "id_r2": Column("ID R2"),
    "id_finished": Column("ID finished"),
    HEADLINE: Column("OOD every open rule"),
    "ood_r1": Column("OOD R1"),
    "ood_r2_completion": Column("OOD R2 completion"),
    "ood_finished": Column("OOD finished"),
}
"""The columns of all tables; those of the authors' tables have no headline."""

SOURCES = {
    "ours": "ours",
    "on_prompts": "ours, trained on OOD prompts too",
    "best_check": "ours, best check",
    "minimum_loss": "ours, lowest loss",
    "authors": "authors, best check",
    **{name: heading(name) for name in REFERENCES},
    "floor": "entropy per token of the language's distribution",
}
"""The sources of rows and their names in tables. A row of another source shows the name of its source."""

WITHOUT_MODEL = (*REFERENCES, "floor")
"""The sources of rows that belong to no model."""

State = Literal["", "not learned", "unknown"]
"""Whether the runs of a row have learned their language; empty where all have, and for rows without runs of ours."""

STATES: dict[bool | None, State] = {True: "", False: "not learned", None: "unknown"}

Model = tuple[str, str]
"""An architecture and the label of a variant."""

_AUTHORS_COLUMNS = [column for column in COLUMNS if column not in ("test_loss", "excess", HEADLINE)]

Number = float | Rate | None


@dataclass(frozen=True)
class Row:
    """One row of a table, from any source.

    Attributes:
        language: The name of the language.
        name: The name of the model; empty for a reference.
        source: One of `SOURCES`, or the name of another source.
        way: The kind of table.
        values: The mean and its spread over runs, by column.
        rates: The rates of the runs with their intervals over prompts, by column; only columns that count completions.
        variant: A label that distinguishes runs of one language and architecture whose recipes differ in more than the
            seed; empty for the recipe with the most runs.
        state: Whether the runs have learned their language.
        total: The number of runs of the model, learned or not; 0 for a row without runs of ours.
        diverged: The number of runs of the row whose validation loss diverged.
    """

    language: str
    name: str
    source: str
    way: Way
    values: Mapping[str, Spread]
    rates: Mapping[str, tuple[Rate, ...]] = field(default_factory=dict)
    variant: str = ""
    state: State = ""
    total: int = 0
    diverged: int = 0

    @classmethod
    def over(
        cls,
        language: str,
        name: str,
        source: str,
        way: Way,
        runs: Sequence[Mapping[str, Number]],
        variant: str = "",
        *,
        state: State = "",
        total: int = 0,
    ) -> Row:
        """Return the row of one model over its runs; a model that was evaluated once has one run.

        Args:
            language: The name of the language.
            name: The name of the model.
            source: One of `SOURCES`, or the name of another source.
            way: The kind of table.
            variant: A label for runs that differ in more than the seed.
            runs: The numbers of each run by column, such as those of `rates_of`.
            state: Whether the runs have learned their language.
            total: The number of runs of the model, learned or not.
        """
        columns = [column for column in COLUMNS if any(column in run for run in runs)]
        by_column = {column: [run.get(column) for run in runs] for column in columns}
        values = {
            column: Spread.over(map(_value, numbers), rate=COLUMNS[column].rate)
            for column, numbers in by_column.items()
        }
        rates = {
            column: tuple(number for number in numbers if isinstance(number, Rate) and number.rate is not None)
            for column, numbers in by_column.items()
        }
        rates = {column: known for column, known in rates.items() if known}
        return cls(language, name, source, way, values, rates, variant, state, total)

    @property
    def label(self) -> str:
        """The name of the model with its variant, or the source of a reference."""
        return f"{self.name} ({self.variant})" if self.variant else self.name or SOURCES.get(self.source, self.source)

    @property
    def n(self) -> int:
        """The number of runs."""
        return max((spread.n for spread in self.values.values()), default=0)


def summarize(runs: Sequence[Run]) -> list[Row]:
    """Return the rows of runs, ordered by language (in Chomsky order), way, architecture and source.

    Seeds of the same recipe make one row. Runs of the authors' recipes are counted in the authors' way and stand beside
    the authors' numbers, which are shown even without a run. All other runs are counted over all prompts.
    """
    rows: list[Row] = []
    for language in in_chomsky_order(run.recipe.language for run in runs):
        language_runs = [run for run in runs if run.recipe.language == language]
        plain = [run for run in language_runs if not run.recipe.paper]
        paper = [run for run in language_runs if run.recipe.paper]
        rows += _corrected(language, plain) + _reproduced(language, paper)
    return rows


def all_rows(runs: Sequence[Run], others: Sequence[Row]) -> list[Row]:
    """Return the rows of runs and of other sources, by language and way, with references last."""
    rows = [*summarize(runs), *others]
    order = in_chomsky_order(row.language for row in rows)

    def place(row: Row) -> tuple[int, bool, int]:
        kind = 2 if row.source in WITHOUT_MODEL else 0 if row.source in SOURCES else 1
        return order.index(row.language), row.way == "reproduced", kind

    return sorted(rows, key=place)


def in_chomsky_order(languages: Iterable[str]) -> list[str]:
    """Return each language once, by level and by name. Languages of unknown level come last."""
    levels = {name: level_of(name) for name in set(languages)}
    return sorted(levels, key=lambda name: ((*LEVELS, "").index(levels[name]), name))


def level_of(language: str) -> str:
    """Return the level of a language in the Chomsky hierarchy; empty if the language is unknown."""
    known = language_of(language)
    return known.level if known else ""


def language_of(name: str) -> Language | None:
    """Return a language; None if it is unknown, or is a class in a file that the user has not named."""
    return recorded_language(name)


def architectures(names: Iterable[str]) -> list[str]:
    """Return each name once, the paper's architectures first."""
    return sorted(set(names), key=lambda name: (PRESETS.index(name) if name in PRESETS else len(PRESETS), name))


def variants(runs: Sequence[Run]) -> dict[Model, list[Run]]:
    """Return groups of runs that differ only in the seed, by architecture and by a label for their other keys.

    Of the recipes of an architecture that train on words alone, the one with the most runs has an empty label, and the
    label of another recipe names the keys that differ from that recipe. Where no recipe has the most runs, each label
    names all keys that differ.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(key_without_seed(run.recipe), []).append(run)
    labelled = {}
    for name in architectures(run.recipe.architecture for run in runs):
        alike = [group for group in groups.values() if group[0].recipe.architecture == name]
        recipes = [group[0].recipe for group in alike]
        # A recipe that trains on OOD prompts answers another question, so it is never the one without a label.
        candidates = [group for group in alike if source_of(group[0].recipe) == "ours"]
        most = max(map(len, candidates), default=0)
        plain = [group[0].recipe for group in candidates if len(group) == most]
        base = plain[0] if len(plain) == 1 else None
        for group, recipe in zip(alike, recipes, strict=True):
            compared = recipes if base is None else [base, recipe]
            keys = [key for key in Recipe.model_fields if key != "seed" and _decides(key, compared)]
            if source_of(recipe) == "on_prompts" and "objective" not in keys:
                keys.append("objective")
            labelled[name, ", ".join(_setting(key, getattr(recipe, key)) for key in keys)] = group
    return labelled


def corrected_runs(runs: Sequence[Run]) -> dict[tuple[str, Model], list[Run]]:
    """Return the runs of corrected recipes by language (in Chomsky order) and model; see `variants`."""
    plain = [run for run in runs if not run.recipe.paper]
    return {
        (language, model): group
        for language in in_chomsky_order(run.recipe.language for run in plain)
        for model, group in variants([run for run in plain if run.recipe.language == language]).items()
    }


def _setting(key: str, value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {part}" for name, part in value.items()) or f"{key} as in its preset"
    return f"{key} {value}"


def source_of(recipe: Recipe) -> str:
    """Return the source of a run's row. Runs that trained on OOD prompts say nothing about extrapolation."""
    if recipe.objective != "likelihood":
        return "on_prompts"
    return "best_check" if recipe.paper else "ours"


def _decides(key: str, recipes: Sequence[Recipe]) -> bool:
    """Return whether recipes differ in a key that determines the results."""
    first = recipes[0]
    values = [{key: getattr(recipe, key)} for recipe in recipes]
    return any(key_of(first.model_copy(update=value)) != key_of(first) for value in values)


def _corrected(language: str, runs: Sequence[Run]) -> list[Row]:
    if not runs:
        return []
    rows = []
    for (name, variant), group in variants(runs).items():
        source = source_of(group[0].recipe)
        for learned, state in STATES.items():
            members = [run for run in group if run.learned is learned]
            if members:
                columns, total = [numbers(run) for run in members], len(group)
                row = Row.over(language, name, source, "corrected", columns, variant, state=state, total=total)
                rows.append(replace(row, diverged=sum(run.diverged_at is not None for run in members)))
    for reference in REFERENCES:
        known = [run.references[reference] for run in runs if reference in run.references]
        if known:
            rows.append(Row.over(language, "", reference, "corrected", known))
    return [*rows, *_floor(language, "corrected", [run.test_floor for run in runs])]


def _reproduced(language: str, runs: Sequence[Run]) -> list[Row]:
    theirs = PAPER["results"].get(language, {})
    groups = variants(runs)
    rows = []
    for architecture in architectures([*theirs, *(name for name, _ in groups)]):
        for (name, variant), group in groups.items():
            if name == architecture:
                for source in ("best_check", "minimum_loss"):
                    run_columns = [
                        {
                            # The authors' test loss is the smallest validation loss of a run.
                            "test_loss": run.validation_loss,
                            **dict.fromkeys(_AUTHORS_COLUMNS),
                            **(run.best_check if source == "best_check" else run.minimum_loss),
                        }
                        for run in group
                    ]
                    rows.append(Row.over(language, name, source, "reproduced", run_columns, variant))
        if architecture in theirs:
            values = {
                column: Spread.of(**spread, rate=COLUMNS[column].rate)
                for column, spread in theirs[architecture].items()
            }
            rows.append(Row(language, architecture, "authors", "reproduced", values))
    if runs:
        chance = [run.chance_among_finished for run in runs]
        rows.append(Row.over(language, "", UNIFORM, "reproduced", chance))
    return [*rows, *_floor(language, "reproduced", [run.validation_floor for run in runs])]


def numbers(run: Run) -> dict[str, Number]:
    """Return the columns of one run over all prompts, at its chosen checkpoint."""
    return {"test_loss": run.test_loss, "excess": run.excess, **run.rates}


def _floor(language: str, way: Way, floors: Sequence[float | None]) -> list[Row]:
    """Return a row with the smallest expected loss, or no row where this loss is unknown."""
    if all(floor is None for floor in floors):
        return []
    return [Row.over(language, "", "floor", way, [{"test_loss": floor} for floor in floors])]


def _value(number: Number) -> float | None:
    return number.rate if isinstance(number, Rate) else number
