"""What cannot be reported is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_study import mass_log
from studies import results, write_store

from hf_ruleextrap.cli import main
from hf_ruleextrap.report import Study, write_report


class TestBadInput:
    def fails(self, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
        assert main(["report", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert error.strip().count("\n") == 0
        return error

    def test_no_results(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "holds no results" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")
        assert "holds no results" in self.fails(capsys, tmp_path / "nowhere", "--out", tmp_path / "out")

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "\xff"])
    def test_torn_results(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
        (tmp_path / "cell").mkdir()
        (tmp_path / "cell" / "results.json").write_bytes(text.encode("latin-1"))
        assert "is torn" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")

    def test_another_schema_and_a_field_that_is_wrong(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = write_store(tmp_path, [results()]) / "00" / "results.json"
        found = json.loads(path.read_text())
        path.write_text(json.dumps({**found, "schema_version": 99}))
        assert "has schema version 99, and here it is 2" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")
        del found["training"]["steps"]
        path.write_text(json.dumps(found))
        assert "does not fit schema" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")

    def test_an_out_that_is_a_file_or_in_one(
        self, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").write_text("kept")
        for out in (tmp_path / "file", tmp_path / "file" / "below"):
            assert "choose another folder" in self.fails(capsys, store, "--out", out)
        assert (tmp_path / "file").read_text() == "kept"

    def test_a_torn_log(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_store(tmp_path, [results(mass_length=4)], [mass_log(1)])
        with (tmp_path / "00" / "log.jsonl").open("a") as file:
            file.write('{"step"')
        assert "log.jsonl is torn" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")

    def test_a_run_that_would_count_twice(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_store(tmp_path / "a", [results(), results(seed=1)])
        write_store(tmp_path / "b", [results(output_dir="elsewhere")])
        assert "are the same run" in self.fails(capsys, tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")

    def test_nothing_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no results to report"):
            write_report(Study([]), tmp_path)
