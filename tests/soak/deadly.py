"""Commands in processes that are killed at a chosen step, without a line of test code in the package.

A process is forked from this one, which has imported everything. An audit hook of Python counts its file-system steps
(a file opened for writing, a rename, a removal, a folder made or removed) and kills the process right before the chosen
one, or a moment after it.
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
# A process that is given less time than this is to be killed, and has nothing to explain.
_PATIENCE = 60.0
# What differs between two runs of the same command, by what it is: the clock, the commit, who runs.
_OF_THE_MOMENT = ("timing", "git_commit")
_IGNORED = ("logs", "locks", "answers")


def die_at(step: int, *, delay: float | None = None) -> None:
    """Kill this process right before its file-system step of this number (from 1), or some seconds after it began."""
    taken = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal taken
        if event == "open":
            path, _, flags = arguments
            # Descriptors, pipes and devices are no files.
            if not isinstance(flags, int) or not flags & _WRITES or str(path).startswith("/dev/"):
                return
        elif event not in _STEPS:
            return
        taken += 1
        if taken == step and delay is None:
            os.kill(os.getpid(), signal.SIGKILL)
        elif taken == step and delay is not None:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, max(delay, 1e-6))

    sys.addaudithook(count)


def fork(command: Callable[[], int], *, log: Path, step: int = 0, delay: float | None = None) -> int:
    """Start a command in a process of its own; its output goes to a file. Returns the process id."""
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
        # A process that does not end says where it stands before it is killed.
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
    """The exit code of a process, negative for a signal; None, and the process is killed, when the time is over.

    The time in which the process or one of its descendants waits for a processor does not count: on a busy machine a
    process of the lowest priority may wait for minutes. Before the process is killed, the calls of its threads go to
    its log.
    """
    counted, before, starved = 0.0, time.monotonic(), 0.0
    while counted < seconds:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
        # Reading the times of all processes is slow.
        if (now := time.monotonic()) - before > min(1.0, seconds - counted):
            starved_now = _starved(process)
            counted += max(0.0, now - before - max(0.0, starved_now - starved))
            before, starved = now, starved_now
    if seconds >= _PATIENCE:
        os.kill(process, signal.SIGUSR1)
        time.sleep(1)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _starved(process: int) -> float:
    """Seconds for which a process and its descendants, as far as they live, have been ready and had no processor."""
    try:
        nanoseconds = int(Path(f"/proc/{process}/schedstat").read_text().split()[1])
    except OSError:
        return 0.0
    return nanoseconds / 1e9 + sum(map(_starved, children(process)))


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def contents(folder: Path, *, names: Sequence[str] = _IGNORED) -> dict[str, str]:
    """The digest of each file below a folder, without what two runs of the same command may differ in."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir() or name.parts[0] in names:
            continue
        data = path.read_bytes()
        if path.name == "results.json":
            results = {key: value for key, value in json.loads(data).items() if key not in _OF_THE_MOMENT}
            data = json.dumps(results).encode()
        found[str(name)] = hashlib.sha256(data).hexdigest()
    return found
