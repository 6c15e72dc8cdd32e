"""Kill commands until a number of kills is reached, and print the numbers.

python tests/soak/soak.py --kills 1000 --seed 0 [--seconds 3000] [--kinds train sweep_parent]
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from deadly import children, contents, fork, wait

import hf_ruleextrap.sweep.warm  # noqa: F401  # imported once, for all forked processes
from hf_ruleextrap.cli import main as cli

# The time limit of one command on a busy machine.
SECONDS = 240.0
KEYS = {
    "max_length": 8,
    "train_size": 16,
    "held_out_size": 4,
    "max_steps": 4,
    "eval_steps": 2,
    "max_new_symbols": 8,
    "prompt_length": 4,
    "model": {"hidden_size": 8},
    "use_cpu": True,
}
# A few more than the file-system steps of a whole run with these keys.
TRAIN_STEPS = 170


@dataclass
class Soak:
    """The kills and the faults so far.

    Attributes:
        base: The folder of all files.
        kills: The number of kills by kind.
        ends: The number of commands that ended, by kind.
        faults: A line for each command that did not end with exit code 0 and the same bytes.
    """

    base: Path
    seed: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.base.mkdir(parents=True, exist_ok=True)
        os.chdir(self.base)
        self.log = self.base / "output.txt"
        Path("recipe.yaml").write_text(yaml.safe_dump(KEYS))
        Path("grid.yaml").write_text(yaml.safe_dump({"recipes": ["recipe.yaml"], "axes": {"seed": [0, 1, 2]}}))
        self.complete: dict[str, dict[str, str]] = {}
        # The time of each command without a kill, by kind.
        self.seconds: dict[str, float] = {}

    def reference(self, name: str, words: list[str], folder: str) -> dict[str, str]:
        """Return the files that a command leaves in a folder of the same name without a kill."""
        if name not in self.complete:
            shutil.rmtree(folder, ignore_errors=True)
            started = time.monotonic()
            code = wait(fork(lambda: cli(words), log=self.log), seconds=SECONDS)
            self.seconds[name] = time.monotonic() - started
            assert code == 0, (words, code, self.log.read_text()[-2000:])
            self.complete[name] = contents(Path(folder))
            shutil.rmtree(folder)
        return self.complete[name]

    def killed(self, kind: str) -> None:
        """Count a kill."""
        self.kills[kind] = self.kills.get(kind, 0) + 1

    def check(self, kind: str, code: int | None, folder: str, expected_digests: dict[str, str], how: str) -> None:
        """Record the fault of a command that ended, and remove its folder."""
        self.ends[kind] = self.ends.get(kind, 0) + 1
        digests = contents(Path(folder))
        different = sorted(
            name for name in {*expected_digests, *digests} if expected_digests.get(name) != digests.get(name)
        )
        if code != 0 or different:
            tail = self.log.read_text(errors="replace")[-1500:]
            self.faults.append(f"{kind} ({how}): exit code {code}, different: {different}\n{tail}")
        self.log.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _command(soak: Soak, kind: str, words: list[str], folder: str, steps: list[tuple[int, float | None]]) -> None:
    """Kill a command at each of the steps, one after the other in the same folder, and then let the command end."""
    whole = soak.reference(kind, words, folder)
    code: int | None = 0
    for step, delay in steps:
        code = wait(fork(lambda: cli(words), log=soak.log, step=step, delay=delay), seconds=SECONDS)
        if code not in (-signal.SIGKILL, -signal.SIGALRM):
            break
        soak.killed(kind)
    else:
        code = wait(fork(lambda: cli(words), log=soak.log), seconds=SECONDS)
    soak.check(kind, code, folder, whole, f"steps {steps}")


TRAIN = ["train", "recipe.yaml", "--output_dir=run"]


def train_at(soak: Soak, step: int, delay: float | None = None) -> None:
    """Kill a training once, at a file-system step."""
    _command(soak, "train", TRAIN, "run", [(step, delay)])


def train(soak: Soak) -> None:
    """Kill a training several times."""
    draw = soak.random
    steps = [
        (draw.randint(1, TRAIN_STEPS), draw.choice([None, draw.uniform(0, 0.02)])) for _ in range(draw.randint(1, 6))
    ]
    _command(soak, "train", TRAIN, "run", steps)


def overwrite(soak: Soak) -> None:
    """Kill a training once while it replaces a finished run."""
    whole = soak.reference("train", TRAIN, "run")
    assert wait(fork(lambda: cli(TRAIN), log=soak.log), seconds=SECONDS) == 0
    words = [*TRAIN, "--overwrite"]
    step = soak.random.randint(1, 40)
    if wait(fork(lambda: cli(words), log=soak.log, step=step), seconds=SECONDS) == -signal.SIGKILL:
        soak.killed("overwrite")
    code = wait(fork(lambda: cli(words), log=soak.log), seconds=SECONDS)
    soak.check("overwrite", code, "run", whole, f"step {step}")


def publish(soak: Soak) -> None:
    """Kill the publication of a dataset several times."""
    words = ["publish", "dataset", "anbn", "--to=hub", "--max-length=16", "--train-size=16"]
    _command(soak, "publish", words, "hub", [(soak.random.randint(1, 40), None) for _ in range(4)])


def _sweep(soak: Soak, **killing: object) -> int:
    words = ["sweep", "grid.yaml", "--out=store", "--workers=2"]
    return fork(lambda: cli(words), log=soak.log, **killing)  # type: ignore[arg-type]


def _whole_store(soak: Soak) -> dict[str, str]:
    return soak.reference("sweep", ["sweep", "grid.yaml", "--out=store", "--workers=2"], "store")


def sweep_parent(soak: Soak) -> None:
    """Kill the parent process of a sweep, at one of its steps or after some time."""
    whole, draw, how = _whole_store(soak), soak.random, []
    for _ in range(draw.randint(1, 3)):
        seconds, step = draw.uniform(0, soak.seconds["sweep"]), draw.choice([0, 0, draw.randint(1, 16)])
        process = _sweep(soak, step=step)
        how.append((step, round(seconds, 2)))
        if wait(process, seconds=SECONDS if step else seconds) in (None, -signal.SIGKILL):
            soak.killed("parent")
    soak.check("parent", wait(_sweep(soak), seconds=SECONDS), "store", whole, str(how))


def sweep_workers(soak: Soak) -> None:
    """Kill the workers of a sweep: while they start, up to 15 times, and twice in each cell while it runs."""
    whole, draw = _whole_store(soak), soak.random
    parent = _sweep(soak)
    deaths: dict[str, int] = {}
    known: set[int] = set()
    starting = 0
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        ended_process, status = os.waitpid(parent, os.WNOHANG)
        if ended_process:
            code: int | None = os.waitstatus_to_exitcode(status)
            break
        workers = {grandchild for child in children(parent) for grandchild in children(child)} - known
        for worker in workers:
            if draw.random() < 0.5 and starting < 15:
                # Most workers have not begun with a cell at this time.
                time.sleep(draw.choice([0, 0, 0.005, 0.05]))
            else:
                known.add(worker)
                time.sleep(draw.uniform(0, 3))
            cell = _cell_of(worker)
            if cell and deaths.get(cell, 0) >= 2:
                continue
            # A worker may begin with a cell before it dies, so that the cell needs a death to spare.
            kind = "worker" if cell else "starting worker"
            if not cell:
                starting += 1
            try:
                os.kill(worker, signal.SIGKILL)
            except ProcessLookupError:
                continue
            cell = _cell_of(worker)
            if cell:
                deaths[cell] = deaths.get(cell, 0) + 1
            soak.killed(kind)
        time.sleep(0.002)
    else:
        code = wait(parent, seconds=0)
    soak.check("worker", code, "store", whole, f"{deaths}, {starting} starting")


def sweep_server(soak: Soak) -> None:
    """Kill the server of a sweep, from which the workers are forked."""
    whole = _whole_store(soak)
    parent = _sweep(soak)
    time.sleep(soak.random.uniform(0, soak.seconds["sweep"]))
    for child in children(parent):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            soak.killed("server")
    soak.check("server", wait(parent, seconds=SECONDS), "store", whole, "")


def two_sweeps(soak: Soak) -> None:
    """Kill and restart one of two sweeps on one store."""
    whole = _whole_store(soak)
    one, other = _sweep(soak), _sweep(soak)
    if wait(one, seconds=soak.random.uniform(0, soak.seconds["sweep"])) is None:
        soak.killed("two sweeps")
    codes = [wait(_sweep(soak), seconds=SECONDS), wait(other, seconds=SECONDS)]
    soak.check("two sweeps", next((code for code in codes if code != 0), 0), "store", whole, str(codes))


def _cell_of(worker: int) -> str:
    """Return the cell that a worker has begun with, or an empty string."""
    for path in Path("store/locks").glob("*.lock"):
        if path.read_text(errors="replace").endswith(f"process {worker}\n"):
            return path.stem
    return ""


KINDS: dict[str, Callable[[Soak], None]] = {
    kind.__name__: kind for kind in (train, overwrite, publish, sweep_parent, sweep_workers, sweep_server, two_sweeps)
}


# Most kills are of the kinds that take little time.
_SHARES = {"train": 0.6, "overwrite": 0.05, "publish": 0.1, "sweep_workers": 0.12}


def main() -> int:
    """Run the soak, and return the exit code: 1 if a command did not end with the expected files, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--steps", type=int, nargs=2, help="kill a training once at each step from A to B instead")
    parser.add_argument("--each", action="store_true", help="begin with each kind once, whatever the time")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args()
    # The forked processes share everything that is loaded and computed here.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        Soak(Path(folder))
        cli(TRAIN)
        gc.collect()
        gc.freeze()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder) / "soak", arguments.seed)
        steps = range(arguments.steps[0], arguments.steps[1] + 1) if arguments.steps else range(0)
        for kind in arguments.kinds if arguments.each else []:
            KINDS[kind](soak)
        figures = {"seconds": 0, "kills": soak.kills, "ends": soak.ends, "faults": soak.faults}
        while sum(soak.kills.values()) < arguments.kills and time.monotonic() - started < arguments.seconds:
            if arguments.steps:
                if not steps:
                    break
                step, steps = steps[0], steps[1:]
                train_at(soak, step)
            else:
                weights = [_SHARES.get(kind, 0.05) for kind in arguments.kinds]
                KINDS[soak.random.choices(arguments.kinds, weights)[0]](soak)
            figures = {
                "seconds": round(time.monotonic() - started),
                "kills": soak.kills,
                "ends": soak.ends,
                "faults": soak.faults,
            }
            if arguments.out:
                arguments.out.write_text(json.dumps(figures, indent=2))
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 1 if soak.faults else 0


if __name__ == "__main__":
    sys.exit(main())
