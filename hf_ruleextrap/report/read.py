"""What a report is made of: the runs of some stores, and what has no results and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.llm import read_evaluations
from hf_ruleextrap.sweep.grid import key_of
from hf_ruleextrap.train.results import SCHEMA_VERSION, Results

from .rows import Row
from .text import text_rows


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
    """Read the stores of sweeps, or folders of several runs, and what language models were asked by the protocol.

    Args:
        stores: the folders.
        rows: of other sources.

    Raises:
        RuleExtrapError: a folder without results; results that are torn, or of another version; a run that stands in
            two places, which would count twice.
    """
    runs: dict[str, Run] = {}
    missing: dict[str, str] = {}
    other = list(rows)
    for store in map(Path, stores):
        found = sorted(store.glob("*/results.json"))
        asked = read_evaluations(store)
        other += text_rows(asked)
        if not found and not asked:
            raise RuleExtrapError(f"{store} holds no results: give the folder of a sweep, or of several runs")
        for path in found:
            run = Run(path.parent, read_results(path))
            key = key_of(run.results.recipe)
            if key in runs:
                raise RuleExtrapError(f"{run.folder} and {runs[key].folder} are the same run ({key}): remove one")
            runs[key] = run
        missing |= _missing(store)
    return Study(list(runs.values()), missing, other)


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
