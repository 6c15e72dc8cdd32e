"""The lines of a training on the screen, its trackers, and its plot."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image
from tiny import TINY
from transformers import TrainerControl, TrainerState
from transformers.utils import logging

from hf_ruleextrap import build_model, run_recipe
from hf_ruleextrap.cli import main
from hf_ruleextrap.train import console, trackers
from hf_ruleextrap.train.plot import plot_run
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results


def run(folder: Path, *words: str) -> int:
    return main(["train", *(f"--{key}={value}" for key, value in TINY.items()), f"--output_dir={folder}", *words])


def test_the_heading_names_the_run_and_the_folder_of_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert run(folder, "--use_cpu") == 0
    printed = capsys.readouterr()
    first, second, third, *_ = printed.err.splitlines()
    parameters = next(line for line in printed.out.splitlines() if " parameters" in line).split(" · ")[2]
    assert first == f"anbn · lstm · {parameters} · seed 0 · cpu"
    assert second == f"20 steps of 8 words, drawn from 8; results go to {folder}"
    assert third.startswith("about ")
    assert third.endswith(" for the steps, and more for the evaluations")


class Clock:
    """A task of 200 steps with a clock that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first_step: int = 0) -> None:
        self.now = 1000.0
        monkeypatch.setattr(console.time, "monotonic", lambda: self.now)
        recipe = Recipe(language="anbn", max_steps=200, batch_size=4)
        task: Any = SimpleNamespace(recipe=recipe, splits=SimpleNamespace(train=["ab"] * 9))
        self.progress = console.Progress(task)
        self.state = TrainerState(max_steps=200, global_step=first_step, is_world_process_zero=True)
        self.arguments: Any = SimpleNamespace(device="cpu", world_size=2)
        model = build_model("lstm", language="anbn", seed=0)
        self.progress.on_train_begin(self.arguments, self.state, TrainerControl(), model=model)

    def steps(self, count: int, seconds: float, **control: bool) -> None:
        for _ in range(count):
            self.now += seconds
            self.state.global_step += 1
            self.progress.on_step_end(self.arguments, self.state, TrainerControl(**control))


def test_without_a_terminal_each_tenth_of_the_steps_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Clock(monkeypatch).steps(200, 0.5)
    first, second, *lines = capsys.readouterr().err.splitlines()
    assert first.endswith("cpu, 2 processes")
    assert second.startswith("200 steps of 4 words, drawn from 9;")
    assert lines[0] == "about 95 s for the steps, and more for the evaluations"
    assert lines[1:] == [
        f"step {step:>6}  {step // 2}% of the steps, about {(200 - step) / 2:.0f} s left" for step in range(20, 200, 20)
    ]


def test_slow_steps_are_a_line_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Clock(monkeypatch).steps(9, 12)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step")]
    assert [int(line.split()[1]) for line in lines] == [3, 6, 9]


def test_an_evaluation_line_replaces_a_progress_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    clock.steps(19, 2)
    capsys.readouterr()
    clock.steps(1, 2, should_evaluate=True)
    clock.progress.on_log(clock.arguments, clock.state, TrainerControl(), logs={"eval_loss": 0.5})
    clock.steps(1, 0.1)
    assert capsys.readouterr().err == "step     20  validation loss 0.5000\n"


def test_a_resumed_run_prints_its_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Clock(monkeypatch, first_step=120)
    assert capsys.readouterr().err.splitlines()[-1] == "resuming from step 120"


def test_tied_weights_are_not_reported_as_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.set_verbosity_warning()
    logging.enable_propagation()
    # At its end the run loads its checkpoint, which holds the tied weights once.
    run_recipe(Recipe(**TINY, architecture="mamba", output_dir=str(tmp_path / "run"), use_cpu=True))
    logging.disable_propagation()
    assert "missing" not in caplog.text


Curve = dict[str, list[float]]


def tensorboard_curves(folder: Path) -> Curve:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = folder.glob("runs/*/events*")
    accumulator = EventAccumulator(str(events.parent))
    accumulator.Reload()
    return {tag: [event.value for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def trackio_curves(folder: Path) -> Curve:
    import trackio.utils

    with sqlite3.connect(trackio.utils.TRACKIO_DIR / f"{trackers.PROJECT}.db") as file:
        rows = file.execute("select metrics from metrics where run_name = ? order by step", [folder.name]).fetchall()
    curves: Curve = {}
    for name, value in (item for (row,) in rows for item in json.loads(row).items()):
        curves.setdefault(name, []).append(value)
    return curves


def logged_curves(folder: Path) -> Curve:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    names = dict.fromkeys(name for line in lines for name in line if name.startswith("eval_"))
    return {name.replace("eval_", "eval/", 1): [line[name] for line in lines if name in line] for name in names}


@pytest.mark.parametrize(("tracker", "read_curves"), [("tensorboard", tensorboard_curves), ("trackio", trackio_curves)])
def test_a_tracker_receives_the_values_of_the_log(
    tracker: str, read_curves: Callable[[Path], Curve], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(tracker, reason=f"{tracker} is not installed: pip install 'hf-ruleextrap[{tracker}]'")
    folder = tmp_path / f"run-{tracker}"
    flags = [f"--{key}={value}" for key, value in {**TINY, "output_dir": folder, "report-to": tracker}.items()]
    assert main(["train", *flags, "--json"]) == 0
    # The output of a tracker does not mix with the results.
    assert json.loads(capsys.readouterr().out)["training"]["steps"] == TINY["max_steps"]
    logged, tracked = logged_curves(folder), read_curves(folder)
    assert {"eval/loss", "eval/id_r1", "eval/ood_r1", "eval/ood_headline"} <= logged.keys() <= tracked.keys()
    for name, values in logged.items():
        assert len(values) == 2
        assert tracked[name] == pytest.approx(values, rel=1e-6), name


def test_a_tracker_that_is_not_installed_is_named_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"axes": {"report_to": ["trackio"]}}))
    commands: list[list[Any]] = [
        ["train", "--report_to", "trackio", "--output_dir", tmp_path / "out"],
        ["sweep", tmp_path / "grid.yaml", "--out", tmp_path / "out"],
    ]
    for command in commands:
        assert main([str(word) for word in command]) == 2
        line = capsys.readouterr().err
        assert line.endswith("report_to is trackio, which is not installed: pip install 'hf-ruleextrap[trackio]'\n")
        assert line.count("\n") == 1
    assert not (tmp_path / "out").exists()


# The plot.


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


def test_the_star_stands_at_the_described_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.of({**TINY, "checkpoint": "last", "output_dir": str(tmp_path)}, "test")
    results = run_recipe(recipe)
    # The lowest validation loss may be at the last step, so the results name an earlier one.
    training = results.training.model_copy(update={"best_step": 0})
    results.model_copy(update={"training": training}).write(tmp_path)
    figures: list[Figure] = []
    monkeypatch.setattr("hf_ruleextrap.train.plot.save_figure", lambda figure, _: figures.append(figure))
    plot_run(tmp_path, tmp_path / "run.png")
    loss, rates = figures[0].axes
    (star,) = (line for line in loss.lines if line.get_label() == "last checkpoint")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (results.training.last_step, results.validation.loss)
    places = {float(bar.lines[0].get_xdata()[0]) for bar in rates.containers}
    assert places == {results.training.last_step}


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
    with Image.open(tmp_path / "three.png") as image:
        assert image.mode == "P", "a figure has a palette, which takes a third of the bytes"
