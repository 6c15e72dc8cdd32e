"""Reading studies: run folders, Parquet files, evaluations of language models, and invalid files."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from language_models import serving
from studies import evaluation, mass_log, results, study_runs, write_store

from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import BackendConfig, text_completer
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.resemblance import Divergence
from hf_ruleextrap.evaluation.text import TextRun
from hf_ruleextrap.report import Row, Run, Study, rates_of, read, read_study, write_report
from hf_ruleextrap.report.store import write_store as write_parquet

STORE = Path(__file__).parent / "store"
"""Three run folders that version 0.1.0 wrote, and the lines of its report for them."""


def test_the_report_from_the_parquet_file_is_that_from_the_folders(report: Path, tmp_path: Path) -> None:
    assert main(["report", str(report / "runs.parquet"), "--out", str(tmp_path)]) == 0
    files = sorted(path.relative_to(report) for path in report.rglob("*.*"))
    # The files are three texts, two tables, the study, and nine figures in three formats.
    assert len(files) == 6 + 9 * 3
    assert Path("runs.parquet") in files
    for name in files:
        assert (tmp_path / name).read_bytes() == (report / name).read_bytes(), name


def test_the_parquet_file_has_one_row_for_each_run(report: Path) -> None:
    table = pq.read_table(report / "runs.parquet")
    runs = study_runs()
    assert table.num_rows == len(runs)
    assert table["language"].to_pylist() == [run.recipe.language for run in runs]
    for loss, run in zip(table["test_loss"].to_pylist(), runs, strict=True):
        assert loss == run.test_without_padding.loss or (math.isnan(loss) and math.isnan(run.test_without_padding.loss))


def test_the_nearest_learners_of_learned_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    divergences = [Divergence(name, mean, mean - 0.1, mean + 0.1, 64) for name, mean in (("b", 1.0), ("a", 2.5))]
    runs = [results(), results(seed=1, learned=False), results(seed=2, objective="oracle"), results(seed=3)]
    store = write_store(tmp_path / "store", runs)

    def divergences_of(folder: Path) -> list[Divergence]:
        if folder.name == "03":
            raise RuleExtrapError("the folder holds no checkpoint")
        return divergences

    monkeypatch.setattr(read, "resemblance_of", divergences_of)
    assert not any(run.resemblance for run in read_study([store]).runs)
    study = read_study([store], resemblance=True)
    assert [run.resemblance for run in study.runs] == [tuple(divergences), (), (), ()]
    store_file = write_parquet(tmp_path / "runs.parquet", study.runs, {}, [])
    assert read_study([store_file]).runs == study.runs
    assert "a file holds no checkpoints" in read_study([store_file], resemblance=True).notes[0]


def test_the_parquet_file_does_not_name_the_folder_of_a_run(tmp_path: Path) -> None:
    write_report(Study([Run.of(results(output_dir="/home/me/secret"))]), tmp_path)
    assert b"secret" not in (tmp_path / "runs.parquet").read_bytes()


def test_a_parquet_file_can_be_extended_and_overwritten(tmp_path: Path) -> None:
    first, second = (write_store(tmp_path / name, [results(seed=seed)]) for seed, name in enumerate("ab"))
    assert main(["report", str(first), "--out", str(tmp_path / "out")]) == 0
    file = tmp_path / "out" / "runs.parquet"
    assert main(["report", str(file), str(second), "--out", str(tmp_path / "out")]) == 0
    assert [run.recipe.seed for run in read_study([file]).runs] == [0, 1]


def test_a_run_that_another_store_has_finished_is_not_missing(tmp_path: Path) -> None:
    """A file of an unfinished sweep names the runs without results, and other stores may have some of them."""
    whole, later = results(seed=0), results(seed=1)
    missing = {Run.of(later).key: "not finished", "other": "not finished"}
    write_report(Study([Run.of(whole)], missing), tmp_path / "first")
    store = write_store(tmp_path / "later", [later])
    for stores in ([tmp_path / "first" / "runs.parquet", store], [store, tmp_path / "first" / "runs.parquet"]):
        study = read_study(stores)
        assert (len(study.runs), study.missing) == (2, {"other": "not finished"})


def test_runs_with_other_columns_stand_in_one_table(tmp_path: Path) -> None:
    """The first run lacks the rates on OOD prompts, which other versions may not have measured."""
    first, *others = (Run.of(results(seed=seed)) for seed in range(5))
    of_id = {name: rate for name, rate in first.rates.items() if name.startswith("id")}
    runs = [first.model_copy(update={"rates": of_id}), *others]
    write_report(Study(runs), tmp_path)
    with (tmp_path / "runs.csv").open(encoding="utf-8") as file:
        assert [line["ood_headline"] for line in csv.DictReader(file)] == ["", *["0.5"] * 4]
    assert [run.rates for run in read_study([tmp_path / "runs.parquet"]).runs] == [run.rates for run in runs]


def test_a_run_that_diverged_after_a_checkpoint_is_marked(tmp_path: Path) -> None:
    whole, diverged = results(seed=0), results(seed=1)
    training = diverged.training.model_copy(update={"diverged_at": 40, "best_step": 20})
    runs = [Run.of(whole), Run.of(diverged.model_copy(update={"training": training}))]
    write_report(Study(runs), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "The validation loss of 1 run diverged" in text
    assert f"{runs[1].key} at step 40" in text.replace("\\", "")
    assert [run.diverged_at for run in read_study([tmp_path / "runs.parquet"]).runs] == [None, 40]
    # A file of an earlier version does not have the column diverged_at.
    table = pq.read_table(tmp_path / "runs.parquet").drop_columns(["diverged_at"])
    pq.write_table(table, tmp_path / "older.parquet")
    assert [run.diverged_at for run in read_study([tmp_path / "older.parquet"]).runs] == [None, None]


def test_rows_of_other_sources_and_missing_runs_are_kept(tmp_path: Path) -> None:
    rates = rates_of(evaluation("anbn", (20, 20, 20, 20), (13, 14, 15, 16)))
    rows = [Row.over("anbn", "some llm", "greedy", "corrected", [rates, {"ood_headline": 0.5}])]
    write_report(Study([], {"cut": "not | finished"}, rows), tmp_path)
    study = read_study([tmp_path / "runs.parquet"])
    assert (study.runs, study.missing, study.rows) == ([], {"cut": "not | finished"}, rows)


def test_an_invalid_parquet_file_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], report: Path
) -> None:
    table = pq.read_table(report / "runs.parquet")
    metadata = table.schema.metadata
    files = {
        "cannot be read as Parquet": b"PAR1 and no more",
        "has schema version none": table.replace_schema_metadata({}),
        "has schema version 99": table.replace_schema_metadata(metadata | {b"hf_ruleextrap.schema_version": b"99"}),
        "does not fit schema 1": table.drop_columns(["test_loss"]),
        "(best_step": table.set_column(
            table.column_names.index("best_step"), "best_step", table["language"].combine_chunks()
        ),
        "does not fit schema 1 (Expecting value": table.set_column(
            table.column_names.index("resemblance"), "resemblance", table["language"].combine_chunks()
        ),
        "has no attribute": table.set_column(
            table.column_names.index("rates"), "rates", pa.array([["text"]] * table.num_rows)
        ),
    }
    for message, content in files.items():
        path = tmp_path / "odd.parquet"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pq.write_table(content, path)
        assert main(["report", str(path), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error


def test_old_run_folders_give_the_same_numbers(tmp_path: Path) -> None:
    """The report has each number of the report of version 0.1.0, which used other names for two references."""
    study = read_study([STORE])
    assert study.notes == [f"{STORE}: read 3 results.json of schema version 1 as version 2"]
    write_report(study, tmp_path)
    new, old = ([*csv.DictReader(file.open(encoding="utf-8"))] for file in (tmp_path / "runs.csv", STORE / "runs.csv"))
    assert len(new) == len(old) == 3
    for new_line, old_line in zip(new, old, strict=True):
        for column, value in old_line.items():
            assert new_line[column] == (str(float(f"{float(value):.6g}")) if "." in value else value)


def test_the_report_shows_an_evaluated_language_model(tmp_path: Path) -> None:
    settings = ProtocolSettings("anbn", shots=3, limit=6, samples=0)
    with serving() as server:
        completer = text_completer("openai", BackendConfig("some-model", base_url=server.url))
        measured = TextRun(completer, "some-model", settings, controls=False, out=tmp_path / "store" / "one")()
    study = read_study([tmp_path / "store"])
    row, *references = study.rows
    assert "chance, prompts of some-model" in {reference.source for reference in references}
    assert row.values["ood_headline"].mean == measured.main.greedy.report.headline.rate
    assert row.rates["ood_headline"] == (measured.main.greedy.report.headline,)
    write_report(study, tmp_path / "report")
    for name in ("report.md", "index.html", "report.csv"):
        text = (tmp_path / "report" / name).read_text()
        assert "some-model" in text
        assert "protocol v2" in text


class TestBadInput:
    def fails(self, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
        assert main(["report", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert error.strip().count("\n") == 0
        return error

    def test_a_folder_without_results_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "holds no results" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")
        assert "holds no results" in self.fails(capsys, tmp_path / "nowhere", "--out", tmp_path / "out")
        file = write_parquet(tmp_path / "runs.parquet", [Run.of(results())], {}, [])
        assert f"or of several runs, or {file}" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")

    def test_a_study_whose_runs_all_diverged_names_one_of_them(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = results(learned=False)
        training = run.training.model_copy(update={"diverged_at": 40, "best_step": 0})
        write_store(tmp_path, [run.model_copy(update={"training": training})])
        error = self.fails(capsys, tmp_path, "--out", tmp_path / "out")
        assert "1 run has none; 00: diverged at step 40, before its first checkpoint" in error

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "\xff"])
    def test_torn_results_are_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
        (tmp_path / "cell").mkdir()
        (tmp_path / "cell" / "results.json").write_bytes(text.encode("latin-1"))
        assert "is torn" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")

    def test_an_unknown_schema_and_a_missing_field_are_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = write_store(tmp_path, [results()]) / "00" / "results.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps({**document, "schema_version": 99}))
        assert "has schema version 99, and here it is 2" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")
        del document["training"]["steps"]
        path.write_text(json.dumps(document))
        assert "does not fit schema" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")

    def test_an_output_folder_that_is_a_file_is_refused(
        self, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").write_text("kept")
        for out in (tmp_path / "file", tmp_path / "file" / "below"):
            assert "choose another folder" in self.fails(capsys, store, "--out", out)
        assert (tmp_path / "file").read_text() == "kept"

    def test_a_torn_log_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_store(tmp_path, [results(mass_length=4)], [mass_log(1)])
        with (tmp_path / "00" / "log.jsonl").open("a") as file:
            file.write('{"step"')
        assert "log.jsonl is torn" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")

    def test_a_duplicate_run_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_store(tmp_path / "a", [results(), results(seed=1)])
        write_store(tmp_path / "b", [results(output_dir="elsewhere")])
        assert "hold the same run" in self.fails(capsys, tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
        run = Run.of(results())
        file = write_parquet(tmp_path / "twice.parquet", [run, run], {}, [])
        assert f"holds the run {run.key} twice" in self.fails(capsys, file, "--out", tmp_path / "out")
        again = tmp_path / "b" / ".." / "a"
        assert "is named twice" in self.fails(capsys, tmp_path / "a", again, "--out", tmp_path / "out")

    def test_a_duplicate_evaluation_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        row = Row.over("anbn", "some llm", "greedy", "corrected", [rates_of(evaluation("anbn", (20,) * 4, (9,) * 4))])
        for name in "ab":
            write_parquet(tmp_path / f"{name}.parquet", [], {}, [row])
        error = self.fails(capsys, tmp_path / "a.parquet", tmp_path / "b.parquet", "--out", tmp_path / "out")
        assert "b.parquet holds results of some llm in anbn that another store holds, too" in error

    def test_an_empty_study_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no results to report"):
            write_report(Study([]), tmp_path)
