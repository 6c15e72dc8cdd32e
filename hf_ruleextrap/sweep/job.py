"""A job runs one cell of a grid in a worker, which may be a process on another machine."""

from __future__ import annotations

import os
import socket
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hf_ruleextrap.costs import any_cost
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import writing
from hf_ruleextrap.train.recipe import Recipe

STORE_FILE = "store.txt"
"""The file that marks a folder as a store and holds the version of the results' schema."""


@dataclass(frozen=True)
class Job:
    """The information that a worker needs to run a cell.

    Attributes:
        recipe: The recipe of the cell as YAML, including its run folder.
        store: The store, on a disk that the worker can read and write.
        key: The name of the cell.
        ticket: The name of this attempt.
        directory: The working directory, from which relative paths start.
        threads: The number of threads for arithmetic.
        wait: Whether to wait while another process holds the run folder.
        any_cost: Whether the user allows work of any cost (``--yes``).
    """

    recipe: str
    store: str
    key: str
    ticket: str
    directory: str
    threads: int
    wait: bool = False
    any_cost: bool = False

    @property
    def log(self) -> Path:
        """The file with the output of the run."""
        return Path(self.store) / "logs" / f"{self.key}.log"

    @property
    def lock(self) -> Path:
        """The lock file of the cell; the process that runs the cell holds the lock and writes its name there."""
        return Path(self.store) / "locks" / f"{self.key}.lock"

    def where(self) -> str:
        """Return the machine and process of this attempt, or an empty text before the attempt begins."""
        try:
            ticket, _, place = self.lock.read_text(encoding="utf-8").strip().partition("\n")
        except OSError:
            return ""
        return place if ticket == self.ticket else ""


@dataclass(frozen=True)
class Ended:
    """The end of a job.

    Attributes:
        status: ``done``; ``skipped``, because the cell was already finished; ``busy``, because another process runs the
            cell; or ``failed``.
        reason: The reason of a failure: a traceback, or one line for a user's mistake.
    """

    status: Literal["done", "skipped", "busy", "failed"]
    reason: str = ""


def run_job(job: Job) -> Ended:
    """Run one cell in this process, unless another process runs the cell."""
    # numba reads its variable at import. Idle threads of numba use processor time, so there must be no more than these.
    for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, str(job.threads))

    import torch
    import yaml
    from filelock import FileLock, Timeout

    from hf_ruleextrap.train.folder import RunFolder
    from hf_ruleextrap.train.run import run_recipe

    torch.set_num_threads(job.threads)
    try:
        os.chdir(job.directory)
        store_exists = (Path(job.store) / STORE_FILE).exists()
    except OSError:
        store_exists = False
    if not store_exists:
        reason = (
            f"{socket.gethostname()} cannot see the store {job.store}: put the store on a disk that all workers share"
        )
        return Ended("failed", reason)
    try:
        # A full disk affects the lock file and the log as well as the run.
        with writing(job.store), FileLock(job.lock).acquire(blocking=False):
            job.lock.write_text(f"{job.ticket}\n{socket.gethostname()}, process {os.getpid()}\n", encoding="utf-8")
            recipe = Recipe.of(yaml.safe_load(job.recipe), job.key)
            folder = RunFolder(recipe.run_dir)
            if folder.holds_results:
                folder.settle(wait=job.wait)
                return Ended("skipped")
            with (
                job.log.open("a", encoding="utf-8") as log,
                redirect_stdout(log),
                redirect_stderr(log),
                any_cost(job.any_cost),
            ):
                run_recipe(recipe, wait=job.wait)
    except Timeout:
        return Ended("busy")
    except RuleExtrapError as error:
        return Ended("failed", str(error))
    except Exception:
        # No error of one cell may end the sweep.
        return Ended("failed", traceback.format_exc())
    return Ended("done")
