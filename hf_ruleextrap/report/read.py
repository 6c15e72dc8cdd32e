"""Read the runs of stores, and the names of runs without results."""

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
    """The data of a report.

    Attributes:
        runs: the finished runs.
        missing: the reason for each run without results, by the name of the run.
        rows: results of other sources, for the same tables and figures.
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
        RuleExtrapError: a folder has no results, a file of results is incomplete or of another version, or two folders
            hold the same run, which would count twice.
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
                f"{store} holds no results: name the folder of a sweep or of several runs, or a report's runs.parquet"
            )
        for place, run in placed:
            if run.key in runs:
                raise RuleExtrapError(f"{place} and {runs[run.key][0]} are the same run ({run.key}): remove one")
            runs[run.key] = (place, run)
        missing |= store_missing
        other += store_rows
    return Study([run for _, run in runs.values()], missing, other)


def _without_checkpoint(finished: dict[Path, Results]) -> dict[str, str]:
    """Return a reason for each run that diverged before its first checkpoint, by the name of its folder."""
    steps = {path.parent.name: results.training for path, results in finished.items()}
    return {
        name: f"diverged at step {training.diverged_at}, before its first checkpoint"
        for name, training in steps.items()
        if training.diverged_at is not None and not training.best_step
    }


def _run_of(path: Path, results: Results) -> Run:
    return Run.of(results, _log(path.with_name("log.jsonl")) if results.recipe.mass_length else ())


def _log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; an absent file has none.

    Raises:
        RuleExtrapError: a line is not JSON.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        raise RuleExtrapError(f"{path} is torn: remove the file, or run its recipe again") from None


def read_results(path: Path) -> Results:
    """Return the results in one ``results.json``.

    Raises:
        RuleExtrapError: the file is incomplete, or of another version.
    """
    advice = "remove the file and run its recipe again"
    try:
        text = path.read_text(encoding="utf-8")
        version = json.loads(text)["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise RuleExtrapError(f"{path} is torn, or holds no results: {advice}") from None
    if version != SCHEMA_VERSION:
        raise RuleExtrapError(
            f"{path} was written by another version (schema {version}, here {SCHEMA_VERSION}): {advice}"
        )
    try:
        return Results.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RuleExtrapError(f"{path} does not fit schema {version} ({where}: {first['msg']}): {advice}") from None


def _missing(store: Path) -> dict[str, str]:
    """Return a reason for each run folder without results, and for each cell that a sweep recorded as failed."""
    unfinished = [path.parent for path in store.glob("*/recipe.yaml") if not (path.parent / "results.json").exists()]
    reasons = {folder.name: "not finished" for folder in sorted(unfinished)}
    for note in sorted(store.glob("failures/*.txt")):
        if not (store / note.stem / "results.json").exists():
            lines = note.read_text(encoding="utf-8").strip().splitlines()
            reasons[note.stem] = f"failed: {lines[-1] if lines else 'no reason was recorded'}"
    return reasons
