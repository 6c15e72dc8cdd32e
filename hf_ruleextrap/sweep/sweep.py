"""Run all cells of a grid into one store, several cells at a time.

The store is a folder that contains a run folder for each cell, whose ``results.json`` is written completely or not at
all; ``locks/``, which prevent two processes from running the same cell, even in several sweeps on several machines;
``logs/`` with the output of each run; and ``failures/`` with the reason why a cell has no results.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from hf_ruleextrap.costs import duration, is_any_cost_allowed
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import LOCK, hold, is_leftover, write_text, writing
from hf_ruleextrap.train.folder import RunFolder
from hf_ruleextrap.train.results import SCHEMA_VERSION

from .grid import Cell, key_without_seed
from .job import STORE_FILE, Ended, Job
from .workers import Backend, Local, WorkerDied, Workers, first_line

# A temporary lack of memory may kill a worker, but a cell that kills every worker must fail in the end.
_TRIES = 3
# The number of consecutive workers that may die before their cell begins. No cell causes such deaths, but a sweep
# cannot continue if all workers die.
_STILLBORN = 20
# The number of cells for each worker that count as the end of a sweep.
_TAIL = 4
# The time between two looks at the cells that another sweep runs.
_LOOK_SECONDS = 2
# The largest number of running cells shown on a terminal, because a cluster may run hundreds.
_ROWS = 12


@dataclass(frozen=True)
class Outcome:
    """The outcome of a sweep.

    Attributes:
        done: The keys of the cells that this sweep ran.
        skipped: The keys of the cells that were finished before, or that another sweep finished in the meantime.
        failed: For the key of each failed cell, the reason in one line.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_sweep(
    cells: list[Cell], store: str | Path, backend: Backend | None = None, *, wait_for_runs: bool = False
) -> Outcome:
    """Run the cells that have no results yet.

    The sweep retries a cell whose worker died, from the latest checkpoint of its run and with at most three attempts.
    The death of a worker that has not begun its cell does not count as an attempt. The sweep records a cell that fails
    and continues with the others; the next call retries the failed cells. After Ctrl-C or a kill, the same call resumes
    the sweep. The sweep leaves a cell that another sweep runs to that sweep, and waits for its end.

    Args:
        cells: The cells that `read_grid` returned for this store.
        store: The folder, on a disk that all workers share.
        backend: The workers; the default is one process for each core that this process may use.
        wait_for_runs: Whether a worker waits while a process that is no sweep, such as a training, works in the run
            folder of its cell; otherwise the cell fails.

    Raises:
        RuleExtrapError: If the store was written by another version, or if the backend is not available.
    """
    store = Path(store)
    outcome = Outcome()
    outcome.skipped.extend(cell.key for cell in cells if RunFolder(cell.recipe.run_dir).is_finished)
    waiting = [cell for cell in cells if cell.key not in set(outcome.skipped)]
    with (backend or Local()).open(len(waiting)) as workers:
        _claim(store)
        for key in outcome.skipped:
            _failure_note(store, key).unlink(missing_ok=True)
        attempts = _Attempts(store, workers, wait_for_runs)
        with Display(len(cells), len(outcome.skipped), attempts.jobs) as display:
            for job, ended, since in _run_all(waiting, attempts, display):
                _record(job.key, ended, store, outcome)
                done = f"done in {duration(time.monotonic() - since)}{_at(job)}"
                event = {"done": done, "skipped": "done by another sweep"}.get(ended.status)
                display.ended(job.key, event or outcome.failed[job.key], failed=ended.status == "failed")
    return outcome


def _record(key: str, ended: Ended, store: Path, outcome: Outcome) -> None:
    note = _failure_note(store, key)
    if ended.status == "failed":
        outcome.failed[key] = ended.reason.strip().splitlines()[-1]
        with writing(note):
            note.write_text(ended.reason, encoding="utf-8")
        return
    (outcome.done if ended.status == "done" else outcome.skipped).append(key)
    note.unlink(missing_ok=True)


def _failure_note(store: Path, key: str) -> Path:
    return store / "failures" / f"{key}.txt"


def _claim(store: Path) -> None:
    """Turn a new or empty folder into a store. Several sweeps may do so at the same time."""
    note = store / STORE_FILE
    if store.exists() and not store.is_dir():
        raise RuleExtrapError(f"{store} exists and is not a store: give another --out")
    names = [path.name for path in store.iterdir() if not is_leftover(path)] if store.exists() else []
    if names and STORE_FILE not in names:
        raise RuleExtrapError(f"{store} exists and is not a store: give another --out")
    # A sweep that was killed here has left its lock file, even if its note is complete.
    if not names or (store / LOCK).exists():
        with hold(store, wait=True):
            if not note.exists():
                write_text(note, f"{SCHEMA_VERSION}\n")
    schema = note.read_text(encoding="utf-8").strip()
    if schema != str(SCHEMA_VERSION):
        raise RuleExtrapError(
            f"{store} was written by another version (schema {schema}, here {SCHEMA_VERSION}): give another --out"
        )
    with writing(store):
        for folder in ("logs", "failures", "locks"):
            (store / folder).mkdir(exist_ok=True)


class _Attempts:
    """The running jobs, and the number of attempts at each cell."""

    def __init__(self, store: Path, workers: Workers, wait_for_runs: bool) -> None:
        self.store, self.workers, self.wait_for_runs = store, workers, wait_for_runs
        self.tries: Counter[str] = Counter()
        self.stillborn = 0
        self._numbers = count()
        self.running: dict[Future[Ended], tuple[Cell, Job, float]] = {}

    def start(self, cell: Cell) -> None:
        """Start a job for a cell."""
        self.tries[cell.key] += 1
        ticket = f"{socket.gethostname()}-{os.getpid()}-{next(self._numbers)}"
        recipe = cell.recipe.to_yaml()
        place = str(self.store), cell.key, ticket, str(Path.cwd())
        job = Job(recipe, *place, self.workers.threads, self.wait_for_runs, is_any_cost_allowed())
        self.running[self.workers.start(job)] = (cell, job, time.monotonic())

    def may_start_again(self, cell: Cell, job: Job, error: BaseException) -> bool:
        """Return whether the sweep retries a cell whose worker died; a death before the cell began does not count."""
        if job.where() or not isinstance(error, WorkerDied):
            self.stillborn = 0
            return self.tries[cell.key] < _TRIES
        self.stillborn += 1
        self.tries[cell.key] -= 1
        return self.stillborn < _STILLBORN

    def jobs(self) -> list[tuple[Job, float]]:
        """Return the running jobs with their start times."""
        return [(job, since) for _, job, since in list(self.running.values())]


def _run_all(cells: list[Cell], attempts: _Attempts, display: Display) -> Iterator[tuple[Job, Ended, float]]:
    """Run the cells; yield each job as it ends, with its result and its start time."""
    queue, elsewhere, reported = deque(cells), list[Cell](), list[Cell]()
    # The time of a cell is that of the last finished cell with the same recipe except for the seed, and a
    # recipe without a finished cell counts as the longest.
    kinds = {cell.key: key_without_seed(cell.recipe) for cell in cells}
    seconds: dict[str, float] = {}
    while queue or attempts.running or elsewhere:
        if not queue and not attempts.running:
            if elsewhere != reported:
                display.say(f"waiting for another sweep, which runs {', '.join(cell.key for cell in elsewhere)}")
            time.sleep(_LOOK_SECONDS)
            queue.extend(elsewhere)
            reported, elsewhere = elsewhere, []
        # No more jobs start than there are workers, so that every job that the display shows really runs.
        while queue and len(attempts.running) < attempts.workers.room():
            attempts.start(_take(queue, attempts.workers.room(), lambda cell: seconds.get(kinds[cell.key], math.inf)))
        for future in wait(attempts.running, return_when=FIRST_COMPLETED).done:
            cell, job, since = attempts.running.pop(future)
            error = future.exception()
            if error is None and future.result().status == "busy":
                attempts.tries[cell.key] -= 1
                elsewhere.append(cell)
            elif error is None:
                if future.result().status == "done":
                    seconds[kinds[cell.key]] = time.monotonic() - since
                yield job, future.result(), since
            elif attempts.may_start_again(cell, job, error):
                display.say(f"{cell.key}: its worker died{_at(job)} ({first_line(error)}); the cell starts again")
                queue.appendleft(cell)
            else:
                deaths = "died before it began" if attempts.stillborn else f"died {_TRIES} times"
                yield job, Ended("failed", f"its worker {deaths}: {first_line(error)}"), since


def _take(queue: deque[Cell], workers: int, seconds_of: Callable[[Cell], float]) -> Cell:
    """Remove a cell from the queue and return it: the first cell, or near the end of the sweep the longest cell.

    A long cell that starts last would leave the other workers without a cell.
    """
    cell = max(queue, key=seconds_of) if len(queue) <= _TAIL * workers else queue[0]
    queue.remove(cell)
    return cell


def _at(job: Job) -> str:
    return f" on {place}" if (place := job.where()) else ""


class Display:
    """A context manager that shows the progress of a sweep on stderr.

    Args:
        total: The number of cells.
        skipped: The number of cells that were finished before the sweep started.
        running: A function that returns the running jobs with their start times (`time.monotonic`).
    """

    def __init__(self, total: int, skipped: int, running: Callable[[], list[tuple[Job, float]]]) -> None:
        self.total, self.finished, self.failed = total, skipped, 0
        self.running = running
        self.started, self.first = time.monotonic(), skipped
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.live = Live(console=self.console, get_renderable=self.screen, refresh_per_second=2, transient=True)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.live.stop()

    def say(self, line: str) -> None:
        """Print a line that stays on the screen."""
        self.console.print(line, markup=False)

    def ended(self, key: str, what: str, *, failed: bool) -> None:
        """Report that a cell has ended."""
        self.finished += 1
        self.failed += failed
        self.say(f"{key}: {what} | {self.summary()}")

    def summary(self) -> str:
        """Return the numbers of done, failed and running cells, and the time left."""
        ended = self.finished - self.first
        left = (time.monotonic() - self.started) / ended * (self.total - self.finished) if ended else None
        parts = [f"{self.finished - self.failed} of {self.total} done", f"{self.failed} failed"]
        parts.append(f"{len(self.running())} running")
        return ", ".join(parts + ([] if left is None else [f"about {duration(left)} left"]))

    def screen(self) -> Text:
        """Return the text of the terminal: the summary, and the running cells with their workers and times."""
        running = self.running()
        rows = [
            f"  {job.key}  {job.where() or 'waits for its worker'}  {duration(time.monotonic() - since)}"
            for job, since in running[:_ROWS]
        ]
        more = [f"  and {len(running) - _ROWS} more"] if len(running) > _ROWS else []
        return Text("\n".join([self.summary(), *rows, *more]), no_wrap=True, overflow="ellipsis")
