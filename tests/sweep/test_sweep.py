"""Sweeps: failed cells, dead workers, shared stores and the flags of the command."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny import TINY, differences, grid
from tiny import outcome as outcome_of

from hf_ruleextrap.cli import main
from hf_ruleextrap.costs import any_cost
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.results import SCHEMA_VERSION
from hf_ruleextrap.files import LOCK
from hf_ruleextrap.report import read_study
from hf_ruleextrap.sweep.grid import read_grid
from hf_ruleextrap.sweep.job import Ended, Job, run_job
from hf_ruleextrap.sweep.sweep import Display, duration, run_sweep
from hf_ruleextrap.sweep.workers import Backend, Local, OnRay, WorkerDied, Workers
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe

# The token keeps other programs out of the cluster below. Ray reads these variables at its import.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def test_a_folder_that_is_no_store_and_a_store_of_another_version_are_refused(tmp_path: Path) -> None:
    cells = read_grid(grid(tmp_path, {"seed": [0]}), tmp_path)
    with pytest.raises(RuleExtrapError, match="exists and is not a store"):
        run_sweep(cells, tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    (store / "store.txt").write_text("0\n")
    with pytest.raises(RuleExtrapError, match="written by another version"):
        run_sweep(cells, store)
    with pytest.raises(RuleExtrapError, match="holds no results"):
        read_study([store])


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start a Ray cluster on this machine, and yield its address."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hf-ruleextrap[ray]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    # The path of a socket in the folder must be short.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    flags = f"--num-cpus=2 --include-dashboard=false --disable-usage-stats --temp-dir={folder}".split()
    flags += ["--object-store-memory=80000000", "--node-ip-address=127.0.0.1", f"--port={address.split(':')[1]}"]
    head = subprocess.Popen(
        [Path(sys.executable).with_name("ray"), "start", "--head", "--block", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # With the default niceness, the test takes minutes on a busy machine.
        env={**os.environ, "RAY_worker_niceness": "0"},
    )
    try:
        deadline = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", int(address.split(":")[1]))) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield address
    finally:
        head.terminate()
        head.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def backend_of(kind: str, request: pytest.FixtureRequest) -> Backend:
    return Local(2) if kind == "local" else OnRay(request.getfixturevalue("cluster"))


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("kind", ["local", "ray"])
def test_a_sweep_survives_a_failed_cell_and_a_dead_worker(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first sweep gives seven results and names the failure. The second sweep runs only the failed cell."""
    backend, store = backend_of(kind, request), tmp_path / "store"
    cells = read_grid(grid(tmp_path, {"seed": [0, 1, 2, 3, 4, 5, 6, 7]}), store)
    failing = cells[3]
    # A file in the place of its run folder makes the cell fail.
    store.mkdir()
    (store / "store.txt").write_text(f"{SCHEMA_VERSION}\n")
    (store / failing.key).write_text("in the way")
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 240
        while not (cells[0].recipe.run_dir / "recipe.yaml").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        place = (store / "locks" / f"{cells[0].key}.lock").read_text().splitlines()[1]
        killed.append(int(place.rpartition(" ")[2]))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    outcome = run_sweep(cells, store, backend)
    killer.join()
    printed = capfd.readouterr()
    assert f"{cells[0].key}: its worker died on {socket.gethostname()}, process {killed[0]} (" in printed.err
    assert "7 of 8 done, 1 failed, 0 running, about 0 s left" in printed.err.splitlines()[-1]
    assert not printed.out
    assert sorted(outcome.done) == sorted(cell.key for cell in cells if cell is not failing)
    assert list(outcome.failed) == [failing.key]
    assert "is a file" in (store / "failures" / f"{failing.key}.txt").read_text()
    assert len(read_study([store]).runs) == 7

    (store / failing.key).unlink()
    second_outcome = run_sweep(cells, store, InThisProcess())
    assert second_outcome.done == [failing.key]
    assert len(second_outcome.skipped) == 7
    assert not second_outcome.failed
    assert not list((store / "failures").iterdir())


def test_the_sweep_command_reports_its_cells_which_equal_single_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, store = grid(tmp_path, {"architecture": ["lstm", "transformer"]}), tmp_path / "store"
    command = ["sweep", str(path), "--out", str(store)]
    assert main([*command, "--dry-run"]) == 0
    names = [line.rpartition("-")[0] for line in capsys.readouterr().out.split()]
    assert names == ["anbn-lstm-seed0", "anbn-transformer-seed0"]
    assert not store.exists()
    assert main([*command, "--workers", "1"]) == 0
    assert f"2 cells: 2 ran, 0 had been done, 0 failed; results in {store}" in capsys.readouterr().out
    assert main(command) == 0
    assert "0 ran, 2 had been done" in capsys.readouterr().out

    lstm, alone = read_grid(path, store)[0].recipe, tmp_path / "alone"
    run_recipe(lstm.model_copy(update={"output_dir": str(alone)}))
    assert not differences(outcome_of(lstm.run_dir), outcome_of(alone))
    for weights in ("model.safetensors", "last/model.safetensors"):
        assert (lstm.run_dir / weights).read_bytes() == (alone / weights).read_bytes()


@dataclass(frozen=True)
class InThisProcess:
    """A backend that runs the jobs in the process of the test.

    Attributes:
        dying: The number of the first jobs whose workers die.
        begins: Whether these workers had begun with their jobs.
    """

    dying: int = 0
    begins: bool = True

    @contextmanager
    def open(self, most: int) -> Iterator[Workers]:
        jobs: list[Job] = []

        def start(job: Job) -> Future[Ended]:
            future: Future[Ended] = Future()
            jobs.append(job)
            if len(jobs) > self.dying:
                future.set_result(run_job(job))
            else:
                if self.begins:
                    job.lock.write_text(f"{job.ticket}\nnode, process 1\n")
                future.set_exception(WorkerDied("killed\nby the system"))
            return future

        yield Workers(lambda: most, start)


@pytest.mark.parametrize("dying", [2, 3])
def test_a_cell_fails_after_three_dead_workers(dying: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cells = read_grid(grid(tmp_path, {"max_steps": [1]}), tmp_path / "store")
    outcome = run_sweep(cells, tmp_path / "store", InThisProcess(dying))
    assert capfd.readouterr().err.count(" (killed); the cell starts again") == 2
    if dying == 2:
        assert outcome.done == [cells[0].key]
    else:
        assert outcome.failed == {cells[0].key: "its worker died 3 times: killed"}


def test_a_worker_that_dies_before_it_begins_counts_against_no_cell(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cells = read_grid(grid(tmp_path, {"max_steps": [1]}), tmp_path / "store")
    assert run_sweep(cells, tmp_path / "store", InThisProcess(7, begins=False)).done == [cells[0].key]
    assert capfd.readouterr().err.count("its worker died (killed); the cell starts again") == 7


def test_a_sweep_whose_workers_all_die_before_they_begin_ends(tmp_path: Path) -> None:
    cells = read_grid(grid(tmp_path, {"seed": [0, 1]}), tmp_path / "store")
    outcome = run_sweep(cells, tmp_path / "store", InThisProcess(10_000, begins=False))
    assert set(outcome.failed.values()) == {"its worker died before it began: killed"}


def test_leftovers_of_a_finished_cell_are_removed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    cells = read_grid(grid(tmp_path, {"max_steps": [1]}), store)
    assert run_sweep(cells, store, InThisProcess()).done
    folder = cells[0].recipe.run_dir
    names = sorted(path.name for path in folder.iterdir())
    (folder / "checkpoint-1").mkdir()
    (folder / ".lock").write_text("")
    (store / "failures" / f"{cells[0].key}.txt").write_text("of an earlier call")
    assert run_sweep(cells, store, InThisProcess()).skipped == [cells[0].key]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert not list((store / "failures").iterdir())


def test_a_cell_that_another_sweep_runs_is_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The lock of a cell is free as soon as the process that holds it dies."""
    store = tmp_path / "store"
    cells = read_grid(grid(tmp_path, {"seed": [0, 1], "max_steps": [1]}), store)
    (store / "locks").mkdir(parents=True)
    (store / "store.txt").write_text(f"{SCHEMA_VERSION}\n")
    hold = "import filelock, sys, time; held = filelock.FileLock(sys.argv[1]).acquire(); print('held'); time.sleep(99)"
    lock = store / "locks" / f"{cells[0].key}.lock"
    with subprocess.Popen([sys.executable, "-uc", hold, str(lock)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        touched: list[bool] = []

        def kill() -> None:
            deadline = time.monotonic() + 60
            while not (cells[1].recipe.run_dir / "results.json").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            touched.append(cells[0].recipe.run_dir.exists())
            other.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        outcome = run_sweep(cells, store, InThisProcess())
        killer.join()
    assert touched == [False]
    assert outcome.done == [cells[1].key, cells[0].key]
    assert capfd.readouterr().err.count(f"waiting for another sweep, which runs {cells[0].key}") == 1


def test_the_lock_of_a_sweep_that_was_killed_early_is_removed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    cells = read_grid(grid(tmp_path, {"max_steps": [1]}), store)
    store.mkdir()
    (store / "store.txt").write_text(f"{SCHEMA_VERSION}\n")
    (store / LOCK).write_text("")
    assert run_sweep(cells, store, InThisProcess()).done
    assert not (store / LOCK).exists()


def test_a_training_in_the_run_folder_of_a_cell_fails_the_cell_or_is_waited_for(tmp_path: Path) -> None:
    store = tmp_path / "store"
    cells = read_grid(grid(tmp_path, {"max_steps": [1]}), store)
    folder = cells[0].recipe.run_dir
    store.mkdir()
    (store / "store.txt").write_text(f"{SCHEMA_VERSION}\n")
    hold = "import sys, time; from hf_ruleextrap.files import hold; h = hold(sys.argv[1]); h.__enter__(); print(); "
    with subprocess.Popen(
        [sys.executable, "-uc", f"{hold}time.sleep(20)", str(folder)], stdout=subprocess.PIPE
    ) as training:
        assert training.stdout is not None
        assert training.stdout.readline() == b"\n"
        assert "is in use by process" in run_sweep(cells, store, InThisProcess()).failed[cells[0].key]
        killer = threading.Timer(0.5, training.kill)
        killer.start()
        assert run_sweep(cells, store, InThisProcess(), wait_for_runs=True).done == [cells[0].key]
        killer.join()


def test_a_cell_that_another_sweep_has_done_is_not_run_again(tmp_path: Path) -> None:
    store = tmp_path / "store"
    cells = read_grid(grid(tmp_path, {"max_steps": [1]}), store)
    assert run_sweep(cells, store, InThisProcess()).done
    job = Job(cells[0].recipe.to_yaml(), str(store), cells[0].key, "ticket", str(tmp_path), 1)
    assert run_job(job) == Ended("skipped")
    assert job.where() == f"{socket.gethostname()}, process {os.getpid()}"


def test_a_worker_without_access_to_the_store_fails_with_the_reason(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        job = Job(Recipe.of(TINY, "test").to_yaml(), "store", "key", "ticket", str(directory), 1)
        assert run_job(job).reason == (
            f"{socket.gethostname()} cannot see the store store: put the store on a disk that all workers share"
        )
        assert job.where() == ""


def test_the_screen_lists_the_running_cells_and_their_workers(tmp_path: Path) -> None:
    jobs = [Job("", str(tmp_path), f"cell-{number:02}", "ticket", ".", 1) for number in range(20)]
    (tmp_path / "locks").mkdir()
    jobs[0].lock.write_text("ticket\nnode3, process 7\n")
    # The line of an earlier attempt does not tell where the job runs now.
    jobs[1].lock.write_text("other ticket\nnode4, process 8\n")
    display = Display(30, 5, lambda: [(job, time.monotonic() - 7200) for job in jobs])
    screen = str(display.screen()).splitlines()
    assert screen[0] == "5 of 30 done, 0 failed, 20 running"
    assert screen[1] == "  cell-00  node3, process 7  2 h 0 min"
    assert screen[2] == "  cell-01  waits for its worker  2 h 0 min"
    assert screen[-1] == "  and 8 more"
    assert len(screen) == 14
    assert [duration(seconds) for seconds in (41.2, 1380, 9000)] == ["41 s", "23 min", "2 h 30 min"]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--workers 0", "workers is 0: give 1 or more"),
        ("--workers 2 --address auto", "pass one of the two"),
        ("--gpus-per-run 0.1", "--gpus-per-run is for a Ray cluster: pass --address, too"),
        ("--cpus-per-run 1", "--cpus-per-run is for a Ray cluster: pass --address, too"),
        ("--address auto --cpus-per-run 0", "cpus-per-run is 0: give more than 0"),
        ("--address auto --gpus-per-run 1.5", "gpus-per-run is 1.5: give a fraction"),
        ("--address 127.0.0.1:1", "nothing listens at 127.0.0.1:1"),
        ("--address ray://127.0.0.1:1", "give HOST:PORT"),
        ("--address auto", "nothing listens at 127.0.0.1:2"),
    ],
)
def test_unavailable_workers_are_refused_before_anything_runs(
    flags: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--address" in flags and "per-run" not in flags and "--workers" not in flags:
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'hf-ruleextrap[ray]'")
    # The address of a cluster that does not exist any more.
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:2")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    out = tmp_path / "store"
    assert main(["sweep", str(grid(tmp_path, {"seed": [0]})), "--out", str(out), *flags.split()]) == 2
    error = capsys.readouterr().err.strip()
    assert line in error
    assert "\n" not in error
    assert not out.exists()


def test_without_ray_an_address_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["sweep", str(grid(tmp_path, {"seed": [0]})), "--out", str(tmp_path / "s"), "--address", "auto"]) == 2
    assert capsys.readouterr().err == "error: --address needs Ray: pip install 'hf-ruleextrap[ray]'\n"


def test_a_cluster_has_room_for_fractional_resources_or_refuses(cluster: str) -> None:
    nodes = [{"Alive": alive, "Resources": {"CPU": 8.0, "GPU": 2.0}} for alive in (True, False)]
    assert OnRay(cluster, cpus=0.1, gpus=0.1).room(nodes) == 20
    assert OnRay(cluster, cpus=3).room(nodes) == 2
    refused = pytest.raises(RuleExtrapError, match=r"no machine of the cluster has 1 CPUs and 0.1 GPUs for a run")
    with refused, OnRay(cluster, gpus=0.1).open(1):
        pass


@pytest.mark.parametrize("allowed", [False, True])
def test_the_cost_limit_of_a_sweep_applies_to_its_cells(
    allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = read_grid(grid(tmp_path, {"seed": [0]}), tmp_path / "store")
    # Every estimate is above this limit.
    monkeypatch.setattr("hf_ruleextrap.costs.MOST_SECONDS", -1.0)
    with any_cost(allowed):
        outcome = run_sweep(cells, tmp_path / "store", InThisProcess())
    assert len(outcome.done) == allowed
    assert [reason.endswith("or allow this with --yes") for reason in outcome.failed.values()] == [True] * (not allowed)


# A lock of multiprocessing is a semaphore that all forked processes share, and stays locked if its holder dies.
PROGRAM = """
import io
import hf_ruleextrap.sweep.warm
from multiprocessing import synchronize
from datasets.utils import tqdm as bar_of_datasets
from huggingface_hub.utils import tqdm as bar_of_the_hub
from tqdm.auto import tqdm

def refuse(*_):
    raise AssertionError("a lock that forked processes share")

synchronize.SemLock.__init__ = refuse
for bar in (tqdm, bar_of_datasets, bar_of_the_hub):
    bar(total=1, file=io.StringIO()).close()
"""


@pytest.mark.timeout(180)
def test_progress_bars_share_no_lock_between_processes() -> None:
    process = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
