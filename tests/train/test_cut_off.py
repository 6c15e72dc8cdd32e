"""A run that was killed or interrupted ends with the same files as a run that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY

from hf_ruleextrap.train.checkpoints import is_whole, latest_whole, seal
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe

WEIGHTS = ("model.safetensors", "last/model.safetensors")
# The run is long enough for a kill, and short enough for a repetition.
VALUES = {"max_steps": 48, "eval_steps": 6}


def settings(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a recipe. The value None leaves out a key of `TINY`."""
    keys = {**TINY, **VALUES, "output_dir": str(folder), **values}
    return {key: value for key, value in keys.items() if value is not None}


def recipe(folder: Path, **values: Any) -> Recipe:
    return Recipe.of(settings(folder, values), "test")


def results_of(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    # The working tree may change to another commit while the tests run.
    del results["timing"], results["git_commit"], results["recipe"]["output_dir"]
    return results


def assert_equal_runs(one: Path, other: Path) -> None:
    for name in WEIGHTS:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert results_of(one) == results_of(other)


def start(folder: Path, **values: Any) -> subprocess.Popen[str]:
    words = [f"--{key}={value}" for key, value in settings(folder, values).items()]
    command = [sys.executable, "-m", "hf_ruleextrap", "train", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


STREAM = {"stream": True, "train_size": None}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "values"),
    [
        # The moments are within a checkpoint, between two checkpoints, and within the evaluation of the results.
        ("checkpoint-12/*", {"architecture": "lstm", **STREAM}),
        ("checkpoint-18/sealed.json", {"architecture": "transformer"}),
        ("checkpoint-48/sealed.json", {"architecture": "linear"}),
        ("checkpoint-6", {"architecture": "xlstm"}),
        ("checkpoint-6/optimizer.pt", {"architecture": "mamba"}),
    ],
    ids=lambda value: value["architecture"] if isinstance(value, dict) else None,
)
@pytest.mark.timeout(240)
def test_a_killed_run_resumes_and_ends_with_the_same_bytes(moment: str, values: dict[str, Any], tmp_path: Path) -> None:
    run_recipe(recipe(tmp_path / "whole", **values))
    process = start(tmp_path / "cut", **values)
    wait_for(tmp_path / "cut", moment, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (tmp_path / "cut" / "results.json").exists()
    second_process = start(tmp_path / "cut", **values)
    _, error = second_process.communicate(timeout=200)
    assert second_process.returncode == 0, error
    assert_equal_runs(tmp_path / "cut", tmp_path / "whole")
    assert (results_of(tmp_path / "cut")["code_length"] is not None) == ("stream" in values)


def test_ctrl_c_saves_a_checkpoint_and_prints_its_step(tmp_path: Path) -> None:
    run_recipe(recipe(tmp_path / "whole"))
    process = start(tmp_path / "cut")
    wait_for(tmp_path / "cut", "checkpoint-6/sealed.json", process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    steps = [int(path.name.partition("-")[2]) for path in (tmp_path / "cut").glob("checkpoint-*")]
    assert f"stopped at step {max(steps)}; the checkpoint is saved in {tmp_path / 'cut'}" in error
    assert "Traceback" not in error
    run_recipe(recipe(tmp_path / "cut"))
    assert_equal_runs(tmp_path / "cut", tmp_path / "whole")


def test_a_run_that_stopped_early_does_not_resume_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"patience": 1, "learning_rate": 10.0, "max_steps": 100, "eval_steps": 5}
    run_recipe(recipe(tmp_path / "whole", **values))

    def power_cut(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("hf_ruleextrap.train.run.save", power_cut)
        with pytest.raises(OSError, match="power cut"):
            run_recipe(recipe(tmp_path / "cut", **values))
    run_recipe(recipe(tmp_path / "cut", **values))
    assert_equal_runs(tmp_path / "cut", tmp_path / "whole")


def checkpoint(run: Path, step: int, *, best: int) -> Path:
    folder = run / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "weights").write_bytes(os.urandom(100))
    (folder / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
    seal(folder)
    return folder


@pytest.mark.parametrize("tear", ["truncate", "flip", "remove", "unsealed", "torn seal"])
def test_a_torn_checkpoint_is_removed_and_the_previous_one_is_used(tear: str, tmp_path: Path) -> None:
    previous, torn = checkpoint(tmp_path, 9, best=9), checkpoint(tmp_path, 10, best=9)
    assert latest_whole(tmp_path) == torn
    file, note = torn / "weights", torn / "sealed.json"
    if tear == "truncate":
        file.write_bytes(file.read_bytes()[:50])
    elif tear == "flip":
        file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    elif tear == "remove":
        file.unlink()
    elif tear == "unsealed":
        note.unlink()
    else:
        note.write_text(note.read_text()[:20])
    assert not is_whole(torn)
    assert latest_whole(tmp_path) == previous
    assert not torn.exists()


def test_a_checkpoint_without_its_best_checkpoint_is_not_resumed(tmp_path: Path) -> None:
    first, best, latest = (checkpoint(tmp_path, step, best=min(step, 4)) for step in (2, 4, 6))
    assert latest_whole(tmp_path) == latest
    (best / "weights").unlink()
    assert latest_whole(tmp_path) == first
    assert latest_whole(tmp_path / "nothing") is None
