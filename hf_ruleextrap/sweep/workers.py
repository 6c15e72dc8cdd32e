"""The workers of a sweep: processes of this machine, one for each job, or a Ray cluster."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hf_ruleextrap.errors import RuleExtrapError

from .job import Ended, Job, run_job

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

_CONNECT_SECONDS = 5

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""The devices of GPUs by NVIDIA, by AMD, and under Windows. Without one, there is no need to import torch and ask."""


class WorkerDied(RuntimeError):
    """The process of a job ended without a result."""


class _Processes:
    """Start a process for each job; on Linux, a process that has imported everything is forked.

    The processes share neither a queue nor a lock, so that the death of one process never affects the others. Each
    process ends when the sweep's process ends.
    """

    def __init__(self) -> None:
        prepare_workers()
        self._context: Any = get_context(_start_method())
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


def prepare_workers() -> None:
    """Start the fork server, which imports everything that a run needs, unless the server is already running.

    The imports take several seconds. A caller that still has to read a grid starts the server first.
    """
    context: Any = get_context(_start_method())
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["hf_ruleextrap.sweep.warm"])
        # Workers inherit the environment of the server, which torch and numba read at import.
        with _environment(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1"):
            forkserver.ensure_running()


def _start_method() -> str:
    """Return ``forkserver`` if a fork is safe (on Linux without CUDA, which cannot be forked), else ``spawn``."""
    if sys.platform != "linux":
        return "spawn"
    if not any(Path(device).exists() for device in _GPU_DEVICES):
        return "forkserver"
    import torch

    return "spawn" if torch.cuda.is_available() else "forkserver"


def _work(connection: Connection, job: Job) -> None:
    """Run a job in this process and send its result."""
    threading.Thread(target=_exit_with_parent, args=(connection,), daemon=True).start()
    connection.send(run_job(job))


def _exit_with_parent(connection: Connection) -> None:
    """End this process as soon as the process at the other end of the connection has ended."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)


@dataclass(frozen=True)
class Workers:
    """Workers that are ready to run jobs.

    Attributes:
        room: A function that returns how many jobs can run at a time.
        start: A function that starts a job and returns its future. If the worker dies, the future has an exception.
        threads: The number of threads of each job.
    """

    room: Callable[[], int]
    start: Callable[[Job], Future[Ended]]
    threads: int = 1


class Backend(Protocol):
    """A kind of worker."""

    def open(self, most: int) -> AbstractContextManager[Workers]:
        """Open workers for at most ``most`` jobs at a time. Leaving the context ends the jobs that still run."""
        ...


@dataclass(frozen=True)
class Local:
    """Processes on this machine, each with one thread.

    Attributes:
        workers: The number of processes; the default is the number of cores that this process may use.

    Raises:
        RuleExtrapError: If the number is less than 1.
    """

    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise RuleExtrapError(f"workers is {self.workers}: give 1 or more")

    @contextmanager
    def open(self, most: int) -> Iterator[Workers]:
        """Open the workers; each job runs in a process of its own."""
        count = max(1, min(most, self.workers or _cores()))
        # Workers inherit the environment, which torch and numba read at import.
        with _environment(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1"):
            processes = _Processes()
            try:
                yield Workers(lambda: count, processes.start)
            finally:
                processes.kill()


@dataclass(frozen=True)
class OnRay:
    """A Ray cluster on which this package is installed and the store's disk is mounted.

    Attributes:
        address: The ``HOST:PORT`` of the cluster's head; ``auto`` for the cluster that this machine is part of; or
            ``local`` for a cluster on this machine that starts and ends with the sweep.
        cpus: The number of CPUs of each run, which is also its number of threads (at least one).
        gpus: The number of GPUs of each run: a whole number, or a fraction of one GPU that several runs share.

    Raises:
        RuleExtrapError: If one of the numbers is not allowed.
    """

    address: str = "auto"
    cpus: float = 1
    gpus: float = 0

    def __post_init__(self) -> None:
        if not self.cpus > 0:
            raise RuleExtrapError(f"cpus-per-run is {self.cpus:g}: give more than 0")
        if self.gpus < 0 or (self.gpus > 1 and self.gpus % 1):
            raise RuleExtrapError(f"gpus-per-run is {self.gpus:g}: give a fraction of one GPU, or a whole number")

    @contextmanager
    def open(self, most: int) -> Iterator[Workers]:  # noqa: ARG002  # the cluster has the workers that it has
        """Connect to the cluster.

        Raises:
            RuleExtrapError: If Ray is not installed, if no cluster listens at the address, or if no machine has room
                for a run.
        """
        try:
            import ray
        except ImportError:
            raise RuleExtrapError("--address needs Ray: pip install 'hf-ruleextrap[ray]'") from None
        settings: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if self.address == "local":
            settings |= {"num_cpus": _cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        else:
            self._reach()
        # Ray reports a dead worker on stdout. The sweep reports the death itself, together with the cell.
        with _environment(RAY_USAGE_STATS_ENABLED="0"), redirect_stdout(io.StringIO()):
            try:
                ray.init(address=self.address, **settings)
            except (ConnectionError, RuntimeError, ValueError, SystemExit) as error:
                raise RuleExtrapError(
                    f"no Ray cluster at {self.address!r}: {first_line(error)}; "
                    "if the cluster requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
                ) from None
            try:
                # The sweep retries cells itself. Ray's default never reuses a worker that has used a GPU.
                remote = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(run_job)
                if not self.room(ray.nodes()):
                    resources = f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"
                    raise RuleExtrapError(
                        f"no machine of the cluster has {resources} for a run: "
                        "give a smaller --cpus-per-run or --gpus-per-run"
                    )
                yield Workers(
                    lambda: max(1, self.room(ray.nodes())),
                    lambda job: remote.remote(job).future(),
                    threads=max(1, int(self.cpus)),
                )
            finally:
                # This also ends the workers.
                ray.shutdown()

    def room(self, nodes: list[dict[str, Any]]) -> int:
        """Return how many runs fit into an otherwise idle cluster; each run fits on one machine."""
        shares = {name: share for name, share in (("CPU", self.cpus), ("GPU", self.gpus)) if share}
        # Ray counts in units of 0.0001, so that ten times 0.1 is exactly one.
        return sum(
            min(int(node["Resources"].get(name, 0) / share + 1e-4) for name, share in shares.items())
            for node in nodes
            if node["Alive"]
        )

    def _reach(self) -> None:
        """Check that a cluster listens at the address; Ray itself would try for two minutes and then end the process.

        Raises:
            RuleExtrapError: If the address is not valid, or if no cluster listens there.
        """
        address = self.address
        if address == "auto":
            # This is how Ray finds its address; see `get_ray_address_from_environment`.
            note = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray" / "ray_current_cluster"
            address = os.environ.get("RAY_ADDRESS") or (note.read_text().strip() if note.exists() else "auto")
            if address == "auto":
                return
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or "/" in host:
            raise RuleExtrapError(f"address is {address!r}: give HOST:PORT of a Ray cluster's head, auto, or local")
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise RuleExtrapError(
                f"nothing listens at {address} ({first_line(error)}): start a cluster with `ray start --head`, "
                "or give --address local"
            ) from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    old_values = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in old_values.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
