"""All cells of a grid, several at a time, into one store.

The store is a folder: a run folder for each cell, of which ``results.json`` appears whole or not at all; ``locks/``, by
which no two processes run the same cell at a time, be they of several sweeps on several machines; ``logs/`` with what
each run printed; and ``failures/`` with why a cell has no results.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import hold, is_leftover, write_text, writing
from hf_ruleextrap.train.folder import RunFolder
from hf_ruleextrap.train.results import SCHEMA_VERSION

from .display import Display, duration
from .grid import Cell
from .job import STORE_FILE, Ended, Job
from .processes import WorkerDied
from .workers import Backend, Local, Workers, first_line

# A worker may be killed by a passing lack of memory, but a cell that kills every worker must end.
_TRIES = 3
# Deaths in a row of workers that had not begun with their cell: no cell's fault, but no sweep can go on so.
_STILLBORN = 20
# How often to look after cells that another sweep runs.
_LOOK_SECONDS = 2


@dataclass(frozen=True)
class Outcome:
    """What a sweep did.

    Attributes:
        done: keys of cells that ran.
        skipped: keys of those that had been done before, or were done by another sweep meanwhile.
        failed: why the others failed, in a line, by key.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_sweep(cells: list[Cell], store: str | Path, backend: Backend | None = None) -> Outcome:
    """Run the cells that have no results yet.

    A worker that dies costs its run the time since the latest checkpoint; that cell is started again, three times in
    all. A worker that dies before it has begun with its cell costs nothing but another worker. A cell that fails is
    noted, and the others go on; the next call tries it again. After Ctrl-C, or a kill, the same call goes on. A cell
    that another sweep runs is left to it, and waited for at the end.

    Args:
        cells: of `read_grid`, for this store.
        store: the folder, on a disk that all workers share.
        backend: the workers; by default as many processes as this machine has cores for us.

    Raises:
        RuleExtrapError: a store of another version, or a backend that cannot be had.
    """
    store = Path(store)
    outcome = Outcome()
    outcome.skipped.extend(cell.key for cell in cells if RunFolder(cell.recipe.run_dir).is_finished)
    waiting = [cell for cell in cells if cell.key not in set(outcome.skipped)]
    with (backend or Local()).open(len(waiting)) as workers:
        _claim(store)
        for key in outcome.skipped:
            _failure_note(store, key).unlink(missing_ok=True)
        attempts = _Attempts(store, workers)
        with Display(len(cells), len(outcome.skipped), attempts.jobs) as display:
            for job, ended, since in _run_all(waiting, attempts, display):
                _record(job.key, ended, store, outcome)
                took = f"done in {duration(time.monotonic() - since)}{_at(job)}"
                what = {"done": took, "skipped": "done by another sweep"}.get(ended.status)
                display.ended(job.key, what or outcome.failed[job.key], failed=ended.status == "failed")
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
    """Make the folder a store, if it is none yet; several sweeps may do so at once."""
    note = store / STORE_FILE
    if store.exists() and not store.is_dir():
        raise RuleExtrapError(f"{store} exists and is no store: give another --out")
    names = [path.name for path in store.iterdir() if not is_leftover(path)] if store.exists() else []
    if names and STORE_FILE not in names:
        raise RuleExtrapError(f"{store} exists and is no store: give another --out")
    if not names:
        with hold(store, wait=True):
            if not note.exists():
                write_text(note, f"{SCHEMA_VERSION}\n")
    held = note.read_text(encoding="utf-8").strip()
    if held != str(SCHEMA_VERSION):
        raise RuleExtrapError(
            f"{store} was written by another version (schema {held}, here {SCHEMA_VERSION}): give another --out"
        )
    with writing(store):
        for folder in ("logs", "failures", "locks"):
            (store / folder).mkdir(exist_ok=True)


def _who() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class _Attempts:
    """What runs, and how often each cell has been started."""

    def __init__(self, store: Path, workers: Workers) -> None:
        self.store, self.workers = store, workers
        self.tries: Counter[str] = Counter()
        self.stillborn = 0
        self._numbers = count()
        self.running: dict[Future[Ended], tuple[Cell, Job, float]] = {}

    def start(self, cell: Cell) -> None:
        """Hand a cell to a worker."""
        self.tries[cell.key] += 1
        ticket = f"{_who()}-{next(self._numbers)}"
        recipe = cell.recipe.to_yaml()
        job = Job(recipe, str(self.store), cell.key, ticket, str(Path.cwd()), self.workers.threads)
        self.running[self.workers.start(job)] = (cell, job, time.monotonic())

    def may_start_again(self, cell: Cell, job: Job, error: BaseException) -> bool:
        """Whether a cell whose worker died is started again; a death before the cell began does not count."""
        if job.where() or not isinstance(error, WorkerDied):
            self.stillborn = 0
            return self.tries[cell.key] < _TRIES
        self.stillborn += 1
        self.tries[cell.key] -= 1
        return self.stillborn < _STILLBORN

    def jobs(self) -> list[tuple[Job, float]]:
        """What runs, and since when."""
        return [(job, since) for _, job, since in list(self.running.values())]


def _run_all(cells: list[Cell], attempts: _Attempts, display: Display) -> Iterator[tuple[Job, Ended, float]]:
    """Each cell as it ends, with when it was started."""
    queue, elsewhere, told = deque(cells), list[Cell](), list[Cell]()
    while queue or attempts.running or elsewhere:
        if not queue and not attempts.running:
            if elsewhere != told:
                display.say(f"waiting for another sweep, which runs {', '.join(cell.key for cell in elsewhere)}")
            time.sleep(_LOOK_SECONDS)
            queue.extend(elsewhere)
            told, elsewhere = elsewhere, []
        # No more at a time than there are workers, so that what is said to run does.
        while queue and len(attempts.running) < attempts.workers.room():
            attempts.start(queue.popleft())
        for future in wait(attempts.running, return_when=FIRST_COMPLETED).done:
            cell, job, since = attempts.running.pop(future)
            error = future.exception()
            if error is None and future.result().status == "busy":
                attempts.tries[cell.key] -= 1
                elsewhere.append(cell)
            elif error is None:
                yield job, future.result(), since
            elif attempts.may_start_again(cell, job, error):
                display.say(f"{cell.key}: its worker died{_at(job)} ({first_line(error)}); it is started again")
                queue.appendleft(cell)
            else:
                deaths = "died before it began" if attempts.stillborn else f"died {_TRIES} times"
                yield job, Ended("failed", f"its worker {deaths}: {first_line(error)}"), since


def _at(job: Job) -> str:
    return f" on {place}" if (place := job.where()) else ""
