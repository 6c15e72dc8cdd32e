"""A process of this machine for each job; where it is possible, forked from one that has imported everything."""

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
    """The process of a job ended without an answer."""


class Processes:
    """Starts a process for each job.

    Nothing is shared between the processes, neither a queue nor a lock, so that the death of one, at whatever moment,
    is no matter to the others. A process ends when this one does.
    """

    def __init__(self) -> None:
        self._context: Any = get_context(_start_method())
        if self._context.get_start_method() == "forkserver":
            self._context.set_forkserver_preload(["hf_ruleextrap.sweep.warm"])
        self._running: set[BaseProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    def start(self, job: Job) -> Future[Ended]:
        """Start a job; the exception of its future is `WorkerDied`."""
        future: Future[Ended] = Future()
        # The first process waits for seconds until the server has imported everything.
        threading.Thread(target=self._attend, args=(job, future), daemon=True).start()
        return future

    def kill(self) -> None:
        """Kill what still runs."""
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
            # Whatever it is: the end of the pipe, a server that was killed, or half an answer.
            with contextlib.suppress(Exception):
                process.join()
            code = process.exitcode if process.ident is not None else None
            future.set_exception(WorkerDied(f"exit code {code}" if code is not None else str(error) or "no answer"))
        else:
            future.set_result(ended)
            process.join()
        finally:
            with self._lock:
                self._running.discard(process)
            ours.close()


def _start_method() -> str:
    """``forkserver`` where a fork is safe: on Linux, and where no CUDA could have been started before the fork."""
    import torch

    return "forkserver" if sys.platform == "linux" and not torch.cuda.is_available() else "spawn"


def _work(connection: Connection, job: Job) -> None:
    """Run a job in this process and send its end."""
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    connection.send(run_job(job))


def _end_with(connection: Connection) -> None:
    """End this process when the one at the other end of the connection is gone."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)
