"""One process of this machine for each job. On Linux, a process that has imported everything is forked."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from concurrent.futures import Future
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from .job import Ended, Job, run_job

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


class WorkerDied(RuntimeError):
    """The process of a job ended without a result."""


class Processes:
    """Start a process for each job.

    The processes share neither a queue nor a lock, so that the death of one process never affects the others. Each
    process ends when the sweep's process ends.
    """

    def __init__(self) -> None:
        self._context: Any = get_context(_start_method())
        if self._context.get_start_method() == "forkserver":
            self._context.set_forkserver_preload(["hf_ruleextrap.sweep.warm"])
        self._running: set[BaseProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    def start(self, job: Job) -> Future[Ended]:
        """Start a job. If its worker dies, the exception of the future is `WorkerDied`."""
        future: Future[Ended] = Future()
        # The first process waits several seconds until the fork server has imported everything.
        threading.Thread(target=self._attend, args=(job, future), daemon=True).start()
        return future

    def kill(self) -> None:
        """Kill the running processes."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()

    def _attend(self, job: Job, future: Future[Ended]) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, job), daemon=True)
        try:
            with self._lock:
                if self._closed:
                    raise WorkerDied("the sweep has ended")
                process.start()
                self._running.add(process)
            theirs.close()
            ended = ours.recv()
        except Exception as error:
            # The cause may be the end of the pipe, a fork server that was killed, or an incomplete result.
            with contextlib.suppress(Exception):
                process.join()
            code = process.exitcode if process.ident is not None else None
            future.set_exception(WorkerDied(f"exit code {code}" if code is not None else str(error) or "no result"))
        else:
            future.set_result(ended)
            process.join()
        finally:
            with self._lock:
                self._running.discard(process)
            ours.close()


def _start_method() -> str:
    """Return ``forkserver`` if a fork is safe (on Linux without CUDA, which cannot be forked), else ``spawn``."""
    import torch

    return "forkserver" if sys.platform == "linux" and not torch.cuda.is_available() else "spawn"


def _work(connection: Connection, job: Job) -> None:
    """Run a job in this process and send its result."""
    threading.Thread(target=_exit_with_parent, args=(connection,), daemon=True).start()
    connection.send(run_job(job))


def _exit_with_parent(connection: Connection) -> None:
    """End this process as soon as the process at the other end of the connection has ended."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)
