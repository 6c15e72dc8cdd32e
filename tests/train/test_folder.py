"""The run folder: its lock, leftovers, full disks, and runs that resume after a kill or an interruption."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY

from hf_ruleextrap.cli import main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import LOCK, hold, is_leftover, replacing, write_text
from hf_ruleextrap.train.checkpoints import is_whole, latest_whole, seal
from hf_ruleextrap.train.folder import RunFolder
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe

SHORT = {**TINY, "max_steps": 4, "eval_steps": 2}
HOLD = """
import sys, time
from hf_ruleextrap.files import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def recipe(folder: Path, **values: Any) -> Recipe:
    return Recipe.of({**SHORT, "output_dir": str(folder), **values}, "test")


def words(folder: Path, *more_words: str) -> list[str]:
    return ["train", *(f"--{key}={value}" for key, value in SHORT.items()), f"--output_dir={folder}", *more_words]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_recipe(recipe(folder))
    return folder


def test_the_folders_of_a_store_are_those_of_finished_and_unfinished_runs(finished_run: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(finished_run, store / "b")
    (store / "a").mkdir()
    (store / "a" / "recipe.yaml").write_text("language: anbn\n")
    (store / "logs").mkdir()
    unfinished, finished = RunFolder.all_in(store)
    assert (unfinished.path.name, unfinished.holds_results, unfinished.log()) == ("a", False, [])
    assert (finished.path.name, finished.holds_results) == ("b", True)
    assert [line["step"] for line in finished.log() if "eval_loss" in line]
    assert RunFolder.all_in(tmp_path / "nowhere") == []


def test_a_folder_with_only_a_draft_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / ".part-00000000-recipe.yaml").write_text("langu")
    (tmp_path / LOCK).write_text("")
    with hold(tmp_path):
        assert RunFolder(tmp_path).claim(recipe(tmp_path)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_the_same_command_on_a_finished_run_prints_its_results(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    assert main(words(finished_run, "--json")) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((finished_run / "results.json").read_text())
    assert "already contains the results of this run; --overwrite trains it again" in printed.err
    assert main(words(finished_run, "--seed=1")) == 2
    assert {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()} == before


def test_leftovers_of_a_killed_process_are_removed(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted({"plot.png", *(path.name for path in finished_run.iterdir())})
    for repeat in (lambda: main(words(finished_run)), lambda: run_recipe(recipe(finished_run))):
        (finished_run / "checkpoint-4").mkdir()
        (finished_run / LOCK).write_text("")
        (finished_run / "last" / ".part-00000000").mkdir()
        repeat()
        assert sorted(path.name for path in finished_run.iterdir()) == names
        assert not [path for path in finished_run.rglob("*") if is_leftover(path)]
    capsys.readouterr()


def test_a_second_process_is_refused_by_naming_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert main(words(tmp_path)) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"error: {tmp_path} is in use by process {other.pid} on {os.uname().nodename} since 20")
        assert "pass --wait" in line
        killer = threading.Timer(1, other.kill)
        killer.start()
        assert main(words(tmp_path, "--wait")) == 0
        killer.join()
    assert (tmp_path / "results.json").exists()
    assert not (tmp_path / LOCK).exists()


def test_a_waiting_process_returns_the_results_of_the_other(finished_run: Path) -> None:
    assert run_recipe(recipe(finished_run), wait=True) == RunFolder(finished_run).finished(recipe(finished_run))


def fail_to_write(path: Path, number: int) -> None:
    with replacing(path) as draft:
        draft.write_text("half")
        raise OSError(number, os.strerror(number), str(draft))


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "old")
    for number, advice in ((errno.ENOSPC, "MB are free"), (errno.EROFS, "allow writing there")):
        with pytest.raises(RuleExtrapError, match=advice) as caught:
            fail_to_write(tmp_path / "file.txt", number)
        assert f"cannot write {tmp_path / 'file.txt'} ({os.strerror(number)}" in str(caught.value)
        assert "run the same command again" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    assert (tmp_path / "file.txt").read_text() == "old"


LIMITED = """
import resource, sys
from hf_ruleextrap.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("size", [6000, 100_000])
@pytest.mark.timeout(120)
def test_a_training_on_a_full_disk_fails_with_one_line_and_a_repeat_completes_it(
    size: int, finished_run: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LIMITED, str(size), *words(tmp_path / "run")]
    process = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    line = process.stderr.strip().splitlines()[-1]
    assert line.startswith(f"error: cannot write {tmp_path / 'run'}")
    assert "MB are free): free some space" in line
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [path for path in files if is_leftover(path) or path.stat().st_size == size]
    assert main(words(tmp_path / "run")) == 0
    for name in ("model.safetensors", "last/model.safetensors", "log.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (finished_run / name).read_bytes()


@pytest.mark.timeout(120)
def test_a_diverged_run_ends_and_states_the_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path / "run", "--learning_rate=1e30", "--max_grad_norm=0", "--max_steps=50")) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    training = results["training"]
    assert training["diverged_at"] == training["steps"] == 2
    assert training["best_step"] == 0
    # The loss is that of the initial weights, which are finite.
    assert 0 < results["validation"]["loss"] < 10
    assert "diverged at step 2" in capsys.readouterr().out
    assert not list((tmp_path / "run").glob("checkpoint-*"))


# Interrupted runs.


WEIGHTS = ("model.safetensors", "last/model.safetensors")
# The run is long enough for a kill, and short enough for a repetition.
VALUES = {"max_steps": 48, "eval_steps": 6}


def long_settings(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a recipe. The value None leaves out a key of `TINY`."""
    keys = {**TINY, **VALUES, "output_dir": str(folder), **values}
    return {key: value for key, value in keys.items() if value is not None}


def long_recipe(folder: Path, **values: Any) -> Recipe:
    return Recipe.of(long_settings(folder, values), "test")


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
    words = [f"--{key}={value}" for key, value in long_settings(folder, values).items()]
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
    run_recipe(long_recipe(tmp_path / "whole", **values))
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
    run_recipe(long_recipe(tmp_path / "whole"))
    process = start(tmp_path / "cut")
    wait_for(tmp_path / "cut", "checkpoint-6/sealed.json", process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    steps = [int(path.name.partition("-")[2]) for path in (tmp_path / "cut").glob("checkpoint-*")]
    assert f"stopped at step {max(steps)}; the checkpoint is saved in {tmp_path / 'cut'}" in error
    assert "Traceback" not in error
    run_recipe(long_recipe(tmp_path / "cut"))
    assert_equal_runs(tmp_path / "cut", tmp_path / "whole")


def test_a_run_that_stopped_early_does_not_resume_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"patience": 1, "learning_rate": 10.0, "max_steps": 100, "eval_steps": 5}
    run_recipe(long_recipe(tmp_path / "whole", **values))

    def power_cut(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("hf_ruleextrap.train.run.save", power_cut)
        with pytest.raises(OSError, match="power cut"):
            run_recipe(long_recipe(tmp_path / "cut", **values))
    run_recipe(long_recipe(tmp_path / "cut", **values))
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
