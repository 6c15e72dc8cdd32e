from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from hf_ruleextrap.cli import main
from hf_ruleextrap.train.plot import plot_run
from hf_ruleextrap.train.results import Results


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_run_is_drawn_in_each_format(
    ending: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"run.{ending}"
    assert main(["plot", str(tiny_run), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    start = out.read_bytes()[:5]
    assert start == {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}[ending]
    assert out.stat().st_size > 5_000


def test_the_references_are_lines_with_a_legend(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr("hf_ruleextrap.train.plot.save_figure", lambda figure, _: figures.append(figure))
    plot_run(tiny_run, tmp_path / "run.png")
    rates = figures[0].axes[1]
    heights = {round(float(line.get_ydata()[0]), 6) for line in rates.lines if len(line.get_ydata()) == 2}
    for condition in Results.read(tiny_run).best.conditions:
        reports = [condition.references[name] for name in ("uniform", "always-stop", "ceiling")]
        of_kind = [
            report.headline if condition.kind == "ood" else next(iter(report.rules.values())).word.all
            for report in reports
        ]
        assert {round(rate.rate, 6) for rate in of_kind} <= heights
    texts = " ".join(text.get_text() for text in rates.get_legend().get_texts())
    assert all(name in texts for name in ("chance", "stop at once", "ceiling", "best checkpoint"))


def test_plot_refuses_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(tmp_path)]) == 2
    assert "holds no finished run" in capsys.readouterr().err


def test_plot_refuses_an_unknown_format(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(tiny_run), "--out", str(tmp_path / "run.docx")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_masses_appear_in_the_log_and_the_figure_of_a_run(tmp_path: Path) -> None:
    from tiny import TINY

    from hf_ruleextrap.train.recipe import Recipe
    from hf_ruleextrap.train.run import run_recipe

    folder = tmp_path / "run"
    run_recipe(Recipe.of({**TINY, "mass_length": 6, "output_dir": str(folder)}, "test"))
    checks = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines() if "eval_loss" in line]
    assert all(0 < check["eval_mass_both"] < 1 for check in checks)
    plot_run(folder, tmp_path / "three.png")
    assert (tmp_path / "three.png").stat().st_size > 5_000
