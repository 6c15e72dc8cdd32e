"""Commands in processes that are killed at a chosen step, without a line of test code in the package.

A process is forked from this one, which has imported everything. An audit hook of Python counts its file-system steps
(a file opened for writing, a rename, a removal, a folder made or removed) and kills the process right before the chosen
one, or a moment after it.
"""

from __future__ import annotations

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
    """The exit code of a process, negative for a signal; None, and the process is killed, when the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


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
