"""What a report is made of: the runs of some stores, and what has no results and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.text import read_evaluations
from hf_ruleextrap.train.results import SCHEMA_VERSION, Results

from .record import Run
from .rows import Row
from .store import read_store
from .text import text_rows


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
    """Read the stores of sweeps, folders of several runs, evaluations of language models, or Parquet files of studies.

    Args:
        stores: the folders, or the ``runs.parquet`` that a report wrote.
        rows: the rows of other sources.

    Raises:
        RuleExtrapError: a folder without results; results that are torn, or of another version; a run that stands in
            two places, which would count twice.
    """
    runs: dict[str, tuple[Path, Run]] = {}
    missing: dict[str, str] = {}
    other = list(rows)
    for store in map(Path, stores):
        diverged: dict[str, str] = {}
        if store.is_file():
            store_runs, store_missing, store_rows = read_store(store)
            placed = [(store, run) for run in store_runs]
        else:
            finished = {path: read_results(path) for path in sorted(store.glob("*/results.json"))}
            diverged = _without_checkpoint(finished)
            placed = [
                (path.parent, _run_of(path, results))
                for path, results in finished.items()
                if path.parent.name not in diverged
            ]
            store_missing, store_rows = _missing(store) | diverged, text_rows(read_evaluations(store))
        if not placed and not store_rows and not diverged:
            raise RuleExtrapError(
                f"{store} holds no results: give the folder of a sweep, or of several runs, or a report's runs.parquet"
            )
        for place, run in placed:
            if run.key in runs:
                raise RuleExtrapError(f"{place} and {runs[run.key][0]} are the same run ({run.key}): remove one")
            runs[run.key] = (place, run)
        missing |= store_missing
        other += store_rows
    return Study([run for _, run in runs.values()], missing, other)


def _without_checkpoint(finished: dict[Path, Results]) -> dict[str, str]:
    """The runs that diverged before their first checkpoint, by the name of their folder, and what happened."""
    steps = {path.parent.name: results.training for path, results in finished.items()}
    return {
        name: f"diverged at step {training.diverged_at}, before its first checkpoint"
        for name, training in steps.items()
        if training.diverged_at is not None and not training.best_step
    }


def _run_of(path: Path, results: Results) -> Run:
    return Run.of(results, _log(path.with_name("log.jsonl")) if results.recipe.mass_length else ())


def _log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; none where there is no such file.

    Raises:
        RuleExtrapError: a line that is not JSON.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        raise RuleExtrapError(f"{path} is torn: remove it, or run that recipe again") from None


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
