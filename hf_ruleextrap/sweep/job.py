"""One cell of a grid as a job for a worker, which may be a process on another machine."""

from __future__ import annotations

import os
import socket
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import writing
from hf_ruleextrap.train.recipe import Recipe

STORE_FILE = "store.txt"
"""What makes a folder a store; it holds the version of the results' schema."""


@dataclass(frozen=True)
class Job:
    """What a worker has to know.

    Attributes:
        recipe: of the cell (YAML), with its run folder.
        store: the folder, on a disk that the worker sees as well.
        key: the cell's.
        ticket: names this very attempt.
        directory: what relative paths start from.
        threads: for the worker's arithmetic.
    """

    recipe: str
    store: str
    key: str
    ticket: str
    directory: str
    threads: int

    @property
    def log(self) -> Path:
        """What the run printed."""
        return Path(self.store) / "logs" / f"{self.key}.log"

    @property
    def lock(self) -> Path:
        """Locked by who runs the cell, for as long as its process lives; it says who that is."""
        return Path(self.store) / "locks" / f"{self.key}.lock"

    def where(self) -> str:
        """The machine and process that this attempt runs in; empty while it has not begun."""
        try:
            ticket, _, place = self.lock.read_text(encoding="utf-8").strip().partition("\n")
        except OSError:
            return ""
        return place if ticket == self.ticket else ""


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        status: ``done``; ``skipped``, as somebody else had done it; ``busy``, as somebody else is at it; or ``failed``.
        reason: why it failed: a traceback, or a line where it was a user's mistake.
    """

    status: Literal["done", "skipped", "busy", "failed"]
    reason: str = ""


def run_job(job: Job) -> Ended:
    """Run one cell in this process, unless another process does."""
    # Read when numba is imported; more threads than these would wait for work, and be busy doing so.
    os.environ.setdefault("NUMBA_NUM_THREADS", str(job.threads))

    import torch
    import yaml
    from filelock import FileLock, Timeout

    from hf_ruleextrap.train.folder import RunFolder
    from hf_ruleextrap.train.run import run_recipe

    torch.set_num_threads(job.threads)
    try:
        os.chdir(job.directory)
        seen = (Path(job.store) / STORE_FILE).exists()
    except OSError:
        seen = False
    if not seen:
        return Ended("failed", f"{job.store} is not seen from {socket.gethostname()}: it must be on a shared disk")
    try:
        # A full disk may fail the note and the log as well as the run.
        with writing(job.store), FileLock(job.lock).acquire(blocking=False):
            job.lock.write_text(f"{job.ticket}\n{socket.gethostname()}, process {os.getpid()}\n", encoding="utf-8")
            recipe = Recipe.of(yaml.safe_load(job.recipe), job.key)
            folder = RunFolder(recipe.run_dir)
            if folder.holds_results:
                folder.settle()
                return Ended("skipped")
            with job.log.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
                run_recipe(recipe)
    except Timeout:
        return Ended("busy")
    except RuleExtrapError as error:
        return Ended("failed", str(error))
    except Exception:
        # One cell's failure, whatever it is, must not end the sweep.
        return Ended("failed", traceback.format_exc())
    return Ended("done")
