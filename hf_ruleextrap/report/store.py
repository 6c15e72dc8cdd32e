"""The runs of a study as one small Parquet file, which gives the same report as the run folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.prequential import CodeLength
from hf_ruleextrap.files import replacing
from hf_ruleextrap.inputs import first_problem
from hf_ruleextrap.train.recipe import Recipe

from .record import FORMER_NAMES, Check, Masses, Run, excess_of, has_learned
from .rows import Row

FILE = "runs.parquet"
"""The name of the file in the folder of a report."""

SCHEMA_VERSION = 1
"""The version of the file's schema. A change in the meaning of a field changes the version."""

_VERSION, _MISSING, _ROWS = b"hf_ruleextrap.schema_version", b"hf_ruleextrap.missing", b"hf_ruleextrap.rows"
_RATE = [
    ("rate", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("hits", pa.int64()),
    ("n", pa.int64()),
    ("exact", pa.bool_()),
]
_COLUMN, _NUMBER = ("column", pa.string()), ("value", pa.float64())
# Mappings are lists of entries, so that each language's columns are of the same type.
_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("language", pa.string()),
        ("architecture", pa.string()),
        ("seed", pa.int64()),
        ("recipe", pa.string()),
        ("parameters", pa.int64()),
        ("steps", pa.int64()),
        ("best_step", pa.int64()),
        # Files of earlier versions lack this column, the next three, excess, excess_error and checks.
        ("checkpoint_step", pa.int64()),
        ("diverged_at", pa.int64()),
        ("learned", pa.bool_()),
        ("learned_at", pa.int64()),
        ("validation_loss", pa.float64()),
        ("validation_floor", pa.float64()),
        ("test_loss", pa.float64()),
        ("test_floor", pa.float64()),
        ("excess", pa.float64()),
        ("excess_error", pa.float64()),
        ("test_loss_with_padding", pa.float64()),
        ("test_floor_with_padding", pa.float64()),
        ("rates", pa.list_(pa.struct([_COLUMN, *_RATE]))),
        ("references", pa.list_(pa.struct([("reference", pa.string()), _COLUMN, *_RATE]))),
        ("chance_among_finished", pa.list_(pa.struct([_COLUMN, *_RATE]))),
        ("best_check", pa.list_(pa.struct([_COLUMN, _NUMBER]))),
        ("minimum_loss", pa.list_(pa.struct([_COLUMN, _NUMBER]))),
        (
            "by_length",
            pa.list_(
                pa.struct(
                    [
                        ("length", pa.int64()),
                        ("kind", pa.string()),
                        *((name, pa.struct(_RATE)) for name in ("headline", "finished", "chance")),
                    ]
                )
            ),
        ),
        (
            "masses",
            pa.list_(
                pa.struct([("step", pa.int64()), *((n, pa.float64()) for n in Masses.model_fields if n != "step")])
            ),
        ),
        # As JSON; files of earlier versions lack these columns.
        ("code_length", pa.string()),
        ("resemblance", pa.string()),
        (
            "checks",
            pa.list_(
                pa.struct([("step", pa.int64()), *((n, pa.float32()) for n in Check.model_fields if n != "step")])
            ),
        ),
        ("train_seconds", pa.float64()),
        ("evaluate_seconds", pa.float64()),
        ("device", pa.string()),
        ("torch", pa.string()),
        ("git_commit", pa.string()),
    ]
)
_ROWS_TYPE = TypeAdapter(list[Row])
# Columns for people who open the file; the recipe of a run contains the same values.
_SHOWN = ("run", "language", "architecture", "seed")


def write_store(path: Path, runs: Sequence[Run], missing: Mapping[str, str], rows: Sequence[Row]) -> Path:
    """Write a study as a Parquet file with a row for each run, completely or not at all.

    Args:
        path: The file.
        runs: The runs, in their order.
        missing: The reason for each run without results, by the name of the run.
        rows: The results of other sources.
    """
    metadata = {
        _VERSION: str(SCHEMA_VERSION).encode(),
        _MISSING: json.dumps(dict(missing)).encode(),
        _ROWS: _ROWS_TYPE.dump_json(list(rows)),
    }
    table = pa.Table.from_pylist([_to_row(run) for run in runs], schema=_SCHEMA.with_metadata(metadata))
    with replacing(path) as draft:
        # A study is read whole, so only its size counts: a third less than with dictionaries, statistics and zstd.
        smallest: dict[str, Any] = {"compression": "brotli", "compression_level": 11, "use_dictionary": False}
        pq.write_table(table, draft, write_statistics=False, **smallest)
    return path


def read_store(path: Path) -> tuple[list[Run], dict[str, str], list[Row]]:
    """Read a file that `write_store` wrote.

    Returns:
        The runs, the names of runs without results with their reasons, and the rows of other sources.

    Raises:
        RuleExtrapError: If the file is not a Parquet file, not the file of a study, or of another version.
    """
    advice = "name the folder of the run folders, or write the file again with `hf-ruleextrap report`"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RuleExtrapError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}): {advice}") from None
    metadata = table.schema.metadata or {}
    version = metadata.get(_VERSION, b"none").decode(errors="replace")
    if version != str(SCHEMA_VERSION):
        raise RuleExtrapError(f"{path} has schema version {version}, but this version reads {SCHEMA_VERSION}: {advice}")
    try:
        runs = [_from_row(row) for row in table.to_pylist()]
        missing = TypeAdapter(dict[str, str]).validate_json(metadata[_MISSING])
        return runs, missing, _ROWS_TYPE.validate_json(metadata[_ROWS])
    except ValidationError as error:
        raise RuleExtrapError(f"{path} does not fit schema {version} ({first_problem(error)}): {advice}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RuleExtrapError(f"{path} does not fit schema {version} ({error}): {advice}") from None


def _to_row(run: Run) -> dict[str, Any]:
    row = run.model_dump()
    # The folder of a run means nothing on another machine.
    recipe = run.recipe.model_dump_json(exclude={"output_dir"})
    references = [
        {"reference": reference, **entry} for reference, rates in row["references"].items() for entry in _entries(rates)
    ]
    return row | {
        "run": run.key,
        "language": run.recipe.language,
        "architecture": run.recipe.architecture,
        "seed": run.recipe.seed,
        "recipe": recipe,
        "references": references,
        "code_length": None if run.code_length is None else run.code_length.model_dump_json(),
        "resemblance": json.dumps(row["resemblance"]) if run.resemblance else None,
        **{name: _entries(row[name]) for name in ("rates", "chance_among_finished")},
        **{
            name: [{"column": column, "value": value} for column, value in row[name].items()]
            for name in ("best_check", "minimum_loss")
        },
    }


def _from_row(row: dict[str, Any]) -> Run:
    references: dict[str, list[dict[str, Any]]] = {}
    for entry in row["references"]:
        name = entry.pop("reference")
        references.setdefault(FORMER_NAMES.get(name, name), []).append(entry)
    fields = {name: value for name, value in row.items() if name not in _SHOWN} | {
        "recipe": Recipe.model_validate_json(row["recipe"]),
        "references": {name: _by_column(entries) for name, entries in references.items()},
        **{name: _by_column(row[name]) for name in ("rates", "chance_among_finished")},
        **{name: {e["column"]: e["value"] for e in row[name]} for name in ("best_check", "minimum_loss")},
    }
    if fields.get("code_length") is not None:
        fields["code_length"] = CodeLength.model_validate_json(fields["code_length"])
    fields["resemblance"] = json.loads(row.get("resemblance") or "[]")
    run = Run.model_validate(fields)
    if "learned" in row:
        return run
    excess = excess_of(run.test_loss, run.test_floor)
    return run.model_copy(update={"excess": excess, "learned": has_learned(run.rates, excess)})


def _entries(rates: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"column": column, **rate} for column, rate in rates.items()]


def _by_column(entries: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry.pop("column"): entry for entry in entries}
