"""What a run says on the screen while it trains."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import TINY
from transformers import TrainerControl, TrainerState

from hf_ruleextrap import build_model
from hf_ruleextrap.cli import main
from hf_ruleextrap.train import console
from hf_ruleextrap.train.recipe import Recipe


def run(folder: Path, *words: str) -> int:
    return main(["train", *(f"--{key}={value}" for key, value in TINY.items()), f"--output_dir={folder}", *words])


def test_the_heading_says_what_is_trained_and_where_the_results_go(
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
    """A task of 200 steps whose clock a test turns."""

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


def test_a_line_of_an_evaluation_is_progress_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    clock.steps(19, 2)
    capsys.readouterr()
    clock.steps(1, 2, should_evaluate=True)
    clock.progress.on_log(clock.arguments, clock.state, TrainerControl(), logs={"eval_loss": 0.5})
    clock.steps(1, 0.1)
    assert capsys.readouterr().err == "step     20  validation loss 0.5000\n"


def test_a_run_that_is_resumed_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Clock(monkeypatch, first_step=120)
    assert capsys.readouterr().err.splitlines()[-1] == "resuming from step 120"
