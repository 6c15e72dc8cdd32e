"""All cells of a grid, several at a time, into one store.

The store is a folder: a run folder for each cell, of which ``results.json`` appears whole or not at all, so many may
write to it; ``logs/`` with what each run printed; and ``failures/`` with why a cell has no results.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ruleextrap.errors import RuleExtrapError

from .grid import Cell
from .recipe import Recipe
from .results import SCHEMA_VERSION, Results

# A worker may be killed by a passing lack of memory, but a cell that kills every worker must end.
_TRIES = 3
_FORMAT = "store.txt"


@dataclass(frozen=True)
class Outcome:
    """What a sweep did.

    Attributes:
        done: keys of cells that ran.
        skipped: keys of those that had been done before.
        failed: why the others failed, in a line, by key.
    """

    done: list[str]
    skipped: list[str]
    failed: dict[str, str]


def sweep(cells: list[Cell], store: str | Path, *, workers: int | None = None) -> Outcome:
    """Run the cells that have no results yet.

    Each worker is a process with one thread. One that dies costs its run the time since the latest checkpoint; that
    cell is started again, three times in all. A cell that fails is noted, and the others go on; the next call tries it
    again. After Ctrl-C, or a kill, the same call goes on.

    Args:
        cells: of `read_grid`, for this store.
        store: the folder.
        workers: processes; by default as many as this machine has cores for us.

    Raises:
        RuleExtrapError: a store of another version, or too few workers.
    """
    store = Path(store)
    workers = _cores() if workers is None else workers
    if workers < 1:
        raise RuleExtrapError(f"workers is {workers}: give 1 or more")
    _claim(store)
    skipped = [cell.key for cell in cells if (cell.recipe.run_dir / "results.json").exists()]
    waiting = [cell for cell in cells if cell.key not in set(skipped)]
    outcome = Outcome([], skipped, {})
    with _one_thread_each(), _bar(len(cells), len(skipped)) as bar:
        for cell, reason in _run_all(waiting, store, min(workers, max(1, len(waiting))), bar):
            note = store / "failures" / f"{cell.key}.txt"
            if reason is None:
                outcome.done.append(cell.key)
                note.unlink(missing_ok=True)
            else:
                outcome.failed[cell.key] = reason.strip().splitlines()[-1]
                note.write_text(reason, encoding="utf-8")
                bar.write(f"{cell.key}: {outcome.failed[cell.key]}")
            bar.update()
    return outcome


def read_store(store: str | Path) -> list[Results]:
    """The results of all finished cells, in the order of their folders' names.

    Raises:
        RuleExtrapError: there are none, or they are of another version.
    """
    store = Path(store)
    found = sorted(store.glob("*/results.json"))
    if not found:
        raise RuleExtrapError(f"{store} holds no results: give the folder of a sweep, or of several runs")
    return [_read(path) for path in found]


def _read(path: Path) -> Results:
    try:
        return Results.read(path.parent)
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise RuleExtrapError(f"{path} is not of this version (schema {SCHEMA_VERSION}): {first}") from None


def _claim(store: Path) -> None:
    note = store / _FORMAT
    if note.exists():
        held = note.read_text(encoding="utf-8").strip()
        if held != str(SCHEMA_VERSION):
            raise RuleExtrapError(
                f"{store} was written by another version (schema {held}, here {SCHEMA_VERSION}): give another --out"
            )
    elif store.exists() and (not store.is_dir() or any(store.iterdir())):
        raise RuleExtrapError(f"{store} exists and is no store: give another --out")
    for folder in ("logs", "failures"):
        (store / folder).mkdir(parents=True, exist_ok=True)
    note.write_text(f"{SCHEMA_VERSION}\n", encoding="utf-8")


def _run_all(cells: list[Cell], store: Path, workers: int, bar: Any) -> Iterator[tuple[Cell, str | None]]:
    """Each cell as it ends, with None or why it failed."""
    from multiprocessing import get_context

    from pebble import ProcessPool

    pool = ProcessPool(max_workers=workers, context=get_context("spawn"))
    tries = {cell.key: 0 for cell in cells}
    queue = list(reversed(cells))
    running: dict[Future[str | None], Cell] = {}
    try:
        while queue or running:
            # No more at a time than there are workers, so that what is said to run does.
            while queue and len(running) < workers:
                cell = queue.pop()
                tries[cell.key] += 1
                log = store / "logs" / f"{cell.key}.log"
                running[pool.schedule(run_cell, args=[cell.recipe.to_yaml(), str(log)])] = cell
            bar.set_postfix_str(", ".join(cell.key for cell in running.values()))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                error = future.exception()
                if error is None:
                    yield cell, future.result()
                elif tries[cell.key] < _TRIES:
                    bar.write(f"{cell.key}: its worker died ({error}); it is started again")
                    queue.append(cell)
                else:
                    yield cell, f"its worker died {_TRIES} times: {error}"
        pool.close()
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


def run_cell(recipe: str, log: str) -> str | None:
    """Run one recipe (YAML) in this process.

    Returns:
        None, or why it failed: a traceback, or a line where it was a user's mistake.
    """
    import torch
    import yaml

    from .run import run

    torch.set_num_threads(1)
    cell = Recipe.of(yaml.safe_load(recipe), "cell")
    with Path(log).open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            run(cell)
        except RuleExtrapError as error:
            return str(error)
        except Exception:
            # One cell's failure, whatever it is, must not end the sweep.
            return traceback.format_exc()
    return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers inherit the environment; torch reads it when it is imported there."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _bar(total: int, initial: int) -> Iterator[Any]:
    from tqdm.auto import tqdm

    with tqdm(total=total, initial=initial, unit="run", dynamic_ncols=True) as bar:
        yield bar
