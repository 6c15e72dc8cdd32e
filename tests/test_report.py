"""The report of a study: its numbers are those of the runs, recomputed here in a few lines."""

from __future__ import annotations

import csv
import json
import math
import re
import statistics
from pathlib import Path

import pytest
from tiny import TINY

from hf_ruleextrap.cli import main
from hf_ruleextrap.report.figures import rank_correlation
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one recipe, and another architecture and language."""
    folder = tmp_path_factory.mktemp("store")
    cells = [
        {"seed": 0},
        {"seed": 1},
        {"architecture": "transformer"},
        {"language": "bban", "max_length": 24, "max_steps": 10},
    ]
    for i, cell in enumerate(cells):
        run(Recipe.of({**TINY, **cell, "output_dir": str(folder / str(i))}, "test"))
    return folder


@pytest.fixture(scope="module")
def report(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert main(["report", str(store), "--out", str(folder)]) == 0
    return folder


def rows_of(report: Path) -> list[dict[str, str]]:
    with (report / "report.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_its_numbers_are_those_of_the_runs(store: Path, report: Path) -> None:
    runs = [json.loads((store / name / "results.json").read_text()) for name in ("0", "1")]
    ours, finished, authors = (
        row for row in rows_of(report) if row["language"] == "anbn" and row["architecture"] == "lstm"
    )
    assert [row["source"] for row in (ours, finished, authors)] == ["ours", "ours_finished", "authors"]

    def spread(values: list[float]) -> tuple[float, float]:
        return statistics.mean(values), statistics.stdev(values)

    reports = {kind: [found["best"]["kinds"][kind]["report"] for found in runs] for kind in ("id", "ood")}
    expected = {
        "test_loss": [found["test"]["loss"] for found in runs],
        "id_r1": [found["rules"]["as_equal_bs"]["word"]["all"]["rate"] for found in reports["id"]],
        "ood_r2_completion": [list(r["rules"].values())[1]["completion"]["all"]["rate"] for r in reports["ood"]],
        "ood_headline": [found["headline"]["rate"] for found in reports["ood"]],
        "ood_finished": [found["finished"]["rate"] for found in reports["ood"]],
    }
    for column, values in expected.items():
        found = float(ours[f"{column}_mean"]), float(ours[f"{column}_std"])
        assert found == pytest.approx(spread(values)), column
        assert ours[f"{column}_n"] == "2"
    loss = spread([found["test_with_padding"]["loss"] for found in runs])
    assert float(finished["test_loss_mean"]) == pytest.approx(loss[0])
    chance = next(row for row in rows_of(report) if row["language"] == "anbn" and row["source"] == "chance")
    uniform = runs[0]["best"]["kinds"]["ood"]["references"]["uniform"]["headline"]["rate"]
    assert float(chance["ood_headline_mean"]) == pytest.approx(uniform)


def test_the_authors_numbers_are_the_paper_s(report: Path) -> None:
    row = next(
        r for r in rows_of(report) if (r["language"], r["architecture"], r["source"]) == ("anbn", "lstm", "authors")
    )
    # Table of L3 at arXiv 2409.13728: OOD R1 of the LSTM over eight seeds.
    assert (row["ood_r1_mean"], row["ood_r1_n"]) == ("0.376", "8")


def test_languages_stand_in_chomsky_order(report: Path) -> None:
    names = re.findall(r"^## (\w+)$", (report / "report.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert names == ["bban", "anbn"]


def test_every_form_has_every_row(report: Path) -> None:
    rows = rows_of(report)
    markdown, latex, page = (
        (report / name).read_text(encoding="utf-8") for name in ("report.md", "report.tex", "index.html")
    )
    assert sum(line.startswith("| ") for line in markdown.splitlines()) == len(rows) + 2
    assert latex.count("\\\\\n") == len(rows) + 2
    assert page.count("<tr class=") == len(rows)


def test_the_page_needs_no_other_file(report: Path) -> None:
    page = (report / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    assert not re.search(r'(?:src|href)="(?!#)[^"]', page.replace("xlink:", ""))
    for name in ("rates.png", "loss.png", "complexity.png"):
        assert (report / "figures" / name).read_bytes().startswith(b"\x89PNG")


def test_the_same_store_gives_the_same_tables(store: Path, report: Path, tmp_path: Path) -> None:
    assert main(["report", str(store), "--out", str(tmp_path)]) == 0
    for name in ("report.md", "report.csv", "report.tex"):
        assert (tmp_path / name).read_bytes() == (report / name).read_bytes()


def test_a_folder_without_results_and_a_torn_one_are_one_line(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no results" in capsys.readouterr().err
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "results.json").write_text((store / "0" / "results.json").read_text()[:100])
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "is not of this version" in error
    assert error.strip().count("\n") == 0


def test_a_rank_correlation_is_spearman_s() -> None:
    x, y = [3.0, 1.0, 2.0, 5.0, 4.0], [1.0, 2.0, 2.0, 4.0, 3.0]
    # Ranks of y with ties: 1, 2.5, 2.5, 5, 4; Pearson's correlation of the ranks by hand: 6.5 / sqrt(10 * 9.5).
    found, low, high = rank_correlation(x, y)
    assert found == pytest.approx(6.5 / math.sqrt(95))
    assert -1 <= low <= found <= high <= 1
    assert math.isnan(rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])[0])
