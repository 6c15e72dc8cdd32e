"""What a report is made of: the runs of some stores, and what has no results and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.llm.results import TextEvaluation, columns_of, read_evaluations
from hf_ruleextrap.train.grid import key_of
from hf_ruleextrap.train.results import SCHEMA_VERSION, Results

from .rows import Row


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: where it is.
        results: its ``results.json``.
    """

    folder: Path
    results: Results

    def log(self) -> list[dict[str, Any]]:
        """The lines of ``log.jsonl``; none where there is no such file.

        Raises:
            RuleExtrapError: a line that is not JSON.
        """
        path = self.folder / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        try:
            return [json.loads(line) for line in lines]
        except ValueError:
            raise RuleExtrapError(f"{path} is torn: remove it, or run that recipe again") from None


@dataclass(frozen=True)
class Study:
    """All that a report shows.

    Attributes:
        runs: the finished ones.
        missing: what has no results, by its name, and why.
        rows: results of any other source, for the same tables and figures.
    """

    runs: Sequence[Run]
    missing: dict[str, str] = field(default_factory=dict)
    rows: Sequence[Row] = ()


def read_study(stores: Iterable[str | Path], rows: Sequence[Row] = ()) -> Study:
    """Read the stores of sweeps, folders of several runs, and those of language models' evaluations.

    Args:
        stores: the folders.
        rows: of other sources.

    Raises:
        RuleExtrapError: a folder without results; results that are torn, or of another version; a run that stands in
            two places, which would count twice.
    """
    runs: dict[str, Run] = {}
    missing: dict[str, str] = {}
    more = list(rows)
    for store in map(Path, stores):
        found = sorted(store.glob("*/results.json"))
        evaluated = [row for evaluation in read_evaluations(store) for row in _rows_of(evaluation)]
        more += evaluated
        if not found and not evaluated:
            raise RuleExtrapError(f"{store} holds no results: give the folder of a sweep, or of several runs")
        for path in found:
            run = Run(path.parent, read_results(path))
            key = key_of(run.results.recipe)
            if key in runs:
                raise RuleExtrapError(f"{run.folder} and {runs[key].folder} are the same run ({key}): remove one")
            runs[key] = run
        missing |= _missing(store)
    return Study(list(runs.values()), missing, more)


def _rows_of(evaluation: TextEvaluation) -> list[Row]:
    """A language model and, on the same prompts, what needs no model."""
    settings = evaluation.main.settings
    protocol = f"text protocol {settings.version}"
    columns = [evaluation.columns()]
    rows = [Row.over(settings.language, evaluation.model, "language model", "corrected", columns, protocol)]
    for name, report in evaluation.main.references.items():
        # The rates are those of greedy completions, and so are the references beside them.
        if not name.endswith(", drawn"):
            columns = [columns_of(settings.kind, report)]
            rows.append(Row.over(settings.language, "", f"{name}, {protocol}", "corrected", columns))
    return rows


def read_results(path: Path) -> Results:
    """One ``results.json``.

    Raises:
        RuleExtrapError: it is torn, or of another version.
    """
    again = "remove it and run that recipe again"
    try:
        text = path.read_text(encoding="utf-8")
        version = json.loads(text)["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise RuleExtrapError(f"{path} is torn, or no results: {again}") from None
    if version != SCHEMA_VERSION:
        raise RuleExtrapError(
            f"{path} was written by another version (schema {version}, here {SCHEMA_VERSION}): {again}"
        )
    try:
        return Results.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RuleExtrapError(f"{path} does not fit schema {version} ({where}: {first['msg']}): {again}") from None


def _missing(store: Path) -> dict[str, str]:
    """Run folders that were begun and have no results, and what a sweep noted as failed."""
    begun = [path.parent for path in store.glob("*/recipe.yaml") if not (path.parent / "results.json").exists()]
    found = {folder.name: "not finished" for folder in sorted(begun)}
    for note in sorted(store.glob("failures/*.txt")):
        if not (store / note.stem / "results.json").exists():
            lines = note.read_text(encoding="utf-8").strip().splitlines()
            found[note.stem] = f"failed: {lines[-1] if lines else 'no reason was noted'}"
    return found
