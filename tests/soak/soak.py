"""Kill commands until a number of kills is reached, and print the numbers.

python tests/soak/soak.py --kills 1000 --seed 0 [--seconds 3000] [--kinds train sweep_parent]
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import hf_ruleextrap.sweep.warm  # noqa: F401  # imported once, for all forked processes
from hf_ruleextrap.cli import main as cli

sys.path.insert(0, str(Path(__file__).parent))
from kinds import KINDS, TRAIN, Soak, train_at

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
