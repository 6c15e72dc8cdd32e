"""Commands in processes that are killed at a chosen step, without test code in the package.

Each process is forked from this process, which has imported all modules. An audit hook of Python counts the file-system
steps of the process (a file opened for writing, a rename, a removal, a folder created or removed) and kills the process
right before the chosen step, or some time after it.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_STEPS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# A process with less time than this will be killed anyway, so that its stacks are not of interest.
_PATIENCE = 60.0
# The keys of results and the folders that may differ between two runs of the same command.
_OF_THE_MOMENT = ("timing", "git_commit")
_IGNORED = ("logs", "locks", "answers")


def die_at(step: int, *, delay: float | None = None) -> None:
    """Kill this process right before a file-system step, counted from 1, or ``delay`` seconds after the step begins."""
    step_count = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal step_count
        if event == "open":
            path, _, flags = arguments
            # Descriptors, pipes and devices do not count as files.
            if not isinstance(flags, int) or not flags & _WRITES or str(path).startswith("/dev/"):
                return
        elif event not in _STEPS:
            return
        step_count += 1
        if step_count == step and delay is None:
            os.kill(os.getpid(), signal.SIGKILL)
        elif step_count == step and delay is not None:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, max(delay, 1e-6))

    sys.addaudithook(count)


def fork(command: Callable[[], int], *, log: Path, step: int = 0, delay: float | None = None) -> int:
    """Start a command in a new process, whose output goes to a file, and return the process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    # The child must never return into the tests.
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        # A process that does not end writes its stacks before it is killed.
        faulthandler.register(signal.SIGUSR1, file=2)
        if step:
            die_at(step, delay=delay)
        code = command()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(99)


def wait(process: int, *, seconds: float) -> int | None:
    """Return the exit code of a process, negative for a signal; None for a process beyond the limit.

    The time in which the process or one of its descendants waits for a processor does not count, because a process of
    the lowest priority may wait for minutes on a busy machine. Before a process is killed, the stacks of its threads go
    to its log.
    """
    counted, last_check, starved = 0.0, time.monotonic(), 0.0
    while counted < seconds:
        ended_process, status = os.waitpid(process, os.WNOHANG)
        if ended_process:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
        # Reading the times of all processes is slow.
        if (now := time.monotonic()) - last_check > min(1.0, seconds - counted):
            starved_now = _starved(process)
            counted += max(0.0, now - last_check - max(0.0, starved_now - starved))
            last_check, starved = now, starved_now
    if seconds >= _PATIENCE:
        os.kill(process, signal.SIGUSR1)
        time.sleep(1)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _starved(process: int) -> float:
    """Return the seconds for which a process and its living descendants have waited for a processor."""
    try:
        nanoseconds = int(Path(f"/proc/{process}/schedstat").read_text().split()[1])
    except OSError:
        return 0.0
    return nanoseconds / 1e9 + sum(map(_starved, children(process)))


def children(process: int) -> list[int]:
    """Return the ids of the child processes of a process."""
    child_ids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            child_ids.append(int(path.parent.name))
    return child_ids


def contents(folder: Path, *, names: Sequence[str] = _IGNORED) -> dict[str, str]:
    """Return the digest of each file below a folder, without the parts that may differ between two runs."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir() or name.parts[0] in names:
            continue
        data = path.read_bytes()
        if path.name == "results.json":
            results = {key: value for key, value in json.loads(data).items() if key not in _OF_THE_MOMENT}
            data = json.dumps(results).encode()
        digests[str(name)] = hashlib.sha256(data).hexdigest()
    return digests
