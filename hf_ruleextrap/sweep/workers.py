"""Where the runs of a sweep run: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import io
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hf_ruleextrap.errors import RuleExtrapError

from .job import Ended, Job, run_job

_CONNECT_SECONDS = 5


@dataclass(frozen=True)
class Workers:
    """Workers that stand ready.

    Attributes:
        room: how many jobs can run at a time, now.
        start: a job's future; its exception is the death of its worker.
        threads: for each job.
    """

    room: Callable[[], int]
    start: Callable[[Job], Future[Ended]]
    threads: int = 1


class Backend(Protocol):
    """A kind of workers."""

    def open(self, most: int) -> AbstractContextManager[Workers]:
        """Workers for as many jobs at a time, at most; an exception that leaves the context ends what still runs."""
        ...


@dataclass(frozen=True)
class Local:
    """Processes of one thread on this machine.

    Attributes:
        workers: how many; by default as many as this machine has cores for us.

    Raises:
        RuleExtrapError: fewer than one.
    """

    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise RuleExtrapError(f"workers is {self.workers}: give 1 or more")

    @contextmanager
    def open(self, most: int) -> Iterator[Workers]:
        """A process for each job."""
        from .processes import Processes

        count = max(1, min(most, self.workers or _cores()))
        processes = Processes()
        # Workers inherit the environment; torch and numba read it when they are imported there.
        with _environment(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1"):
            try:
                yield Workers(lambda: count, processes.start)
            finally:
                processes.kill()


@dataclass(frozen=True)
class OnRay:
    """A Ray cluster, on which this package is installed and the store's disk is mounted.

    Attributes:
        address: ``HOST:PORT`` of its head, ``auto`` for the cluster that this machine is part of, or ``local`` for one
            that is started on this machine and ends with the sweep.
        cpus: of each run, which has as many threads (at least one).
        gpus: of each run: a fraction of one, which that many runs share, or a whole number.

    Raises:
        RuleExtrapError: a number that is none of those.
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
        """Connect.

        Raises:
            RuleExtrapError: Ray is not installed, nothing listens at the address, or no machine has room for a run.
        """
        ray = _import_ray()
        settings: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if self.address == "local":
            settings |= {"num_cpus": _cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        else:
            self._reach()
        # Ray tells of a dead worker on stdout; we do, too, and know which cell it was.
        with _environment(RAY_USAGE_STATS_ENABLED="0"), redirect_stdout(io.StringIO()):
            try:
                ray.init(address=self.address, **settings)
            except (ConnectionError, RuntimeError, ValueError, SystemExit) as error:
                raise RuleExtrapError(
                    f"no Ray cluster at {self.address!r}: {first_line(error)}; "
                    "if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
                ) from None
            try:
                # Retries are ours; and a worker that has used a GPU is not used again, which is Ray's default.
                remote = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(run_job)
                if not self._room(ray.nodes()):
                    wanted = f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"
                    raise RuleExtrapError(f"no machine of the cluster has {wanted} for a run: ask for less")
                yield Workers(
                    lambda: max(1, self._room(ray.nodes())),
                    lambda job: remote.remote(job).future(),
                    threads=max(1, int(self.cpus)),
                )
            finally:
                # Ends the workers, too.
                ray.shutdown()

    def _room(self, nodes: list[dict[str, Any]]) -> int:
        """Runs that the cluster has room for, were it ours alone; a run is on one machine."""
        wanted = {name: share for name, share in (("CPU", self.cpus), ("GPU", self.gpus)) if share}
        # Ray counts in ten thousandths, so that ten times 0.1 is one.
        return sum(
            min(int(node["Resources"].get(name, 0) / share + 1e-4) for name, share in wanted.items())
            for node in nodes
            if node["Alive"]
        )

    def _reach(self) -> None:
        """Where nothing listens, Ray would try for two minutes, and then end this process."""
        address = self.address
        if address == "auto":
            # As Ray finds it: see its `get_ray_address_from_environment`.
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


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise RuleExtrapError("--address needs Ray: pip install 'hf-ruleextrap[ray]'") from None
    return ray


def first_line(error: BaseException) -> str:
    """What an error says, in a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
