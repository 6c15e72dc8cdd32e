"""Read the runs of stores, the names of runs without results, and evaluations of language models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluation, read_evaluations
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.rational_references import RATIONAL
from hf_ruleextrap.evaluation.references import GREEDY, heading, is_ngram
from hf_ruleextrap.evaluation.results import SCHEMA_VERSION
from hf_ruleextrap.inputs import first_problem, read_text
from hf_ruleextrap.train.folder import RunFolder
from hf_ruleextrap.train.rational import rational_rates, resemblance_of
from hf_ruleextrap.train.results import Results

from .record import FORMER_NAMES, HEADLINE, Rates, Run, columns_of, rates_of
from .rows import Row, source_of
from .store import FILE, read_store

_MOST_NOTE = 1 << 20
"""The largest number of bytes in the note of a failed cell."""


@dataclass(frozen=True)
class Study:
    """The data of a report.

    Attributes:
        runs: The finished runs.
        missing: The reason for each run without results, by the name of the run.
        rows: The results of other sources, for the same tables and figures.
        notes: A line for each store with files of an earlier version, and for each file without checkpoints to compare.
    """

    runs: Sequence[Run]
    missing: dict[str, str] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    notes: Sequence[str] = ()


def read_study(stores: Iterable[str | Path], rows: Sequence[Row] = (), *, resemblance: bool = False) -> Study:
    """Read the stores of sweeps, folders of several runs, evaluations of language models, or Parquet files of studies.

    Args:
        stores: The folders, or the ``runs.parquet`` that a report wrote.
        rows: The rows of other sources.
        resemblance: Whether to compare the checkpoint of each run that has learned its language with the rational
            learners, which takes several seconds for each run (`hf_ruleextrap.train.rational.resemblance_of`).

    Raises:
        RuleExtrapError: If a folder has no results, a file of results is incomplete or of another version, or two
            stores hold the same run or the same evaluation, which would count twice.
    """
    runs: dict[str, tuple[Path, Run]] = {}
    missing: dict[str, str] = {}
    other = list(rows)
    notes: list[str] = []
    for store in _each_once(stores):
        diverged: dict[str, str] = {}
        if store.is_file():
            store_runs, store_missing, store_rows = read_store(store)
            placed = [(store, run) for run in store_runs]
            if resemblance:
                notes.append(f"{store}: a file holds no checkpoints that --resemblance could compare with the learners")
        else:
            finished: dict[RunFolder, Results] = {}
            old = 0
            folders = RunFolder.all_in(store)
            for folder in folders:
                if folder.holds_results:
                    finished[folder], version = read_results(folder.results_file)
                    old += version != SCHEMA_VERSION
            if old:
                notes.append(f"{store}: read {old} results.json of schema version 1 as version {SCHEMA_VERSION}")
            diverged = _without_checkpoint(finished)
            placed = [
                (folder.path, _with_resemblance(Run.of(results, folder.log()), folder.path, resemblance))
                for folder, results in finished.items()
                if folder.path.name not in diverged
            ]
            store_missing, store_rows = _missing(store, folders) | diverged, text_rows(read_evaluations(store))
        if not placed and not store_rows and not diverged:
            study_file = store / FILE if (store / FILE).is_file() else f"a report's {FILE}"
            raise RuleExtrapError(
                f"{store} holds no results: name the folder of a sweep or of several runs, or {study_file}"
            )
        for place, run in placed:
            if run.key in runs:
                other_place, _ = runs[run.key]
                reason = f"{place} and {other_place} hold the same run, {run.key}: remove one, or name only one store"
                if place == other_place:
                    reason = f"{place} holds the run {run.key} twice: write the file again with `hf-ruleextrap report`"
                raise RuleExtrapError(reason)
            runs[run.key] = (place, run)
        missing |= store_missing
        other += _without_repeats(store, store_rows, other)
    # A run without results in one store may have results in another.
    missing = {name: reason for name, reason in missing.items() if name not in runs}
    return Study(_with_learners([run for _, run in runs.values()]), missing, other, notes)


def _each_once(stores: Iterable[str | Path]) -> list[Path]:
    """Return the stores; a store that is named twice would count twice."""
    paths: dict[Path, Path] = {}
    for store in map(Path, stores):
        if store.resolve() in paths:
            raise RuleExtrapError(f"{store} is named twice: name each store once")
        paths[store.resolve()] = store
    return list(paths.values())


def _without_repeats(store: Path, rows: Sequence[Row], others: Sequence[Row]) -> Sequence[Row]:
    """Return the rows of a store, unless another store has results of the same evaluation of a model."""
    for row in rows:
        if row.name and row in others:
            raise RuleExtrapError(
                f"{store} holds results of {row.label} in {row.language} that another store holds, too: remove one"
            )
    return rows


def _with_learners(runs: Sequence[Run]) -> list[Run]:
    """Add the rates of the rational learners to one run of each language, as references.

    The rates depend on the training words and the prompts alone. The run is one of those on the words that most runs of
    its language share. A run that has the rates, because it comes from the file of a report, stays as it is. A run on a
    stream has no fixed training words, and thus no such rates.
    """
    with_rates = list(runs)
    for language in dict.fromkeys(run.recipe.language for run in runs):
        places = [
            i
            for i, run in enumerate(runs)
            if run.recipe.language == language and not run.recipe.paper and run.code_length is None
        ]
        if not places or any(RATIONAL[0] in runs[i].references for i in places):
            continue
        words = {i: (runs[i].recipe.max_length, runs[i].recipe.train_size) for i in places}
        most_common = Counter(words.values()).most_common(1)[0][0]
        place = min((i for i in places if words[i] == most_common), key=lambda i: runs[i].recipe.seed)
        rates: dict[str, Rates] = {}
        for row in rational_rates(runs[place].recipe).rows:
            rates[row.learner] = {HEADLINE: row.expected}
            rates[f"{row.learner}{GREEDY}"] = {HEADLINE: row.greedy}
        with_rates[place] = runs[place].model_copy(update={"references": {**runs[place].references, **rates}})
    return with_rates


def _with_resemblance(run: Run, folder: Path, wanted: bool) -> Run:
    """Add the divergences from the rational learners to a learned run of a corrected recipe, if they are wanted.

    A run whose checkpoint was removed, or whose language has no rational learner, stays as it is.
    """
    if not wanted or not run.learned or run.code_length is not None or source_of(run.recipe) != "ours":
        return run
    try:
        return run.model_copy(update={"resemblance": tuple(resemblance_of(folder))})
    except RuleExtrapError:
        return run


def _without_checkpoint(finished: dict[RunFolder, Results]) -> dict[str, str]:
    """Return a reason for each run that diverged before its first checkpoint, by the name of its folder."""
    steps = {folder.path.name: results.training for folder, results in finished.items()}
    return {
        name: f"diverged at step {training.diverged_at}, before its first checkpoint"
        for name, training in steps.items()
        if training.diverged_at is not None and not training.best_step
    }


def read_results(path: Path) -> tuple[Results, int]:
    """Return the results in one ``results.json``, of this schema version or of version 1.

    Returns:
        The results, and the schema version of the file.

    Raises:
        RuleExtrapError: If the file is incomplete, or of another version.
    """
    advice = "remove the file and run its recipe again"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise RuleExtrapError(f"{path} is torn, or holds no results: {advice}") from None
    if version not in (1, SCHEMA_VERSION):
        raise RuleExtrapError(f"{path} has schema version {version}, and here it is {SCHEMA_VERSION}: {advice}")
    try:
        return Results.model_validate(_from_version_1(document) if version == 1 else document), version
    except ValidationError as error:
        where = first_problem(error)
    except (KeyError, TypeError, AttributeError):
        where = "a field is missing"
    raise RuleExtrapError(f"{path} does not fit schema {version} ({where}): {advice}")


def _from_version_1(document: dict[str, Any]) -> dict[str, Any]:
    """Return results of schema version 1 in the form of this version; they hold fewer references."""
    current = {**document, "schema_version": SCHEMA_VERSION}
    for name in ("best", "last"):
        evaluation = document[name]
        settings = {key: evaluation[key] for key in ("prompt_length", "max_new_symbols")}
        conditions = [
            {
                "name": kind,
                "kind": kind,
                "settings": {**settings, "seed": document["recipe"]["seed"]},
                "greedy": {"report": part["report"]},
                "references": {FORMER_NAMES.get(key, key): report for key, report in part["references"].items()},
                "samples": part["samples"],
            }
            for kind, part in evaluation["kinds"].items()
        ]
        current[name] = {
            "model": name,
            "language": evaluation["language"],
            "protocol": "symbols",
            "conditions": conditions,
        }
    return current


def _missing(store: Path, folders: Sequence[RunFolder]) -> dict[str, str]:
    """Return a reason for each run folder without results, and for each cell that a sweep recorded as failed."""
    reasons = {folder.path.name: "not finished" for folder in folders if not folder.holds_results}
    for note in sorted(store.glob("failures/*.txt")):
        # A link could show the text of another file of the reader.
        is_own = note.resolve().is_relative_to(store.resolve())
        if is_own and not RunFolder(store / note.stem).holds_results:
            lines = read_text(note, "failure note", most_bytes=_MOST_NOTE).strip().splitlines()
            reasons[note.stem] = f"failed: {lines[-1] if lines else 'no reason was recorded'}"
    return reasons


def text_rows(evaluations: Sequence[Evaluation]) -> list[Row]:
    """Return a row for the greedy main condition of each evaluation over all prompts, and rows for its references.

    Args:
        evaluations: The evaluations that `hf_ruleextrap.evaluation.read_evaluations` returns.
    """
    return [row for evaluation in evaluations for row in _rows_of(evaluation)]


def _rows_of(evaluation: Evaluation) -> list[Row]:
    main, language, model = evaluation.main, evaluation.language, evaluation.model
    source, variant = "symbol by symbol", ""
    if isinstance(main.settings, ProtocolSettings):
        source = f"text protocol {evaluation.protocol}"
        form = "chat" if main.settings.chat else "text"
        variant = f"{form}, {main.settings.alphabet}, K = {main.settings.shots}, protocol {evaluation.protocol}"
    rows = [Row.over(language, model, source, "corrected", [rates_of(evaluation)], variant)]
    for name, report in main.references.items():
        # The rates are those of greedy completions, so only greedy n-grams are comparable.
        if not is_ngram(name) or name.endswith(GREEDY):
            columns = [columns_of(main.kind, report)]
            rows.append(Row.over(language, "", f"{heading(name)}, prompts of {model}", "corrected", columns))
    return rows
