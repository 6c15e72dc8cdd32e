"""Measure how much faster a sweep is with two workers than with one.

    python benchmarks/sweep.py

The sweep has twelve cells: the mini LSTM and the mini Transformer on a^n b^n, each with six seeds. Each side is the
whole command with a store of its own, from its start to its last result, because that is the time that a user waits.
The measurement needs two idle cores: other programs make the ratio smaller, so the script also prints the load.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml


def seconds(folder: Path, workers: int, steps: int) -> float:
    """Return the wall time of the command with a number of workers."""
    grid, store = folder / "grid.yaml", folder / f"workers-{workers}"
    axes = {"seed": list(range(6)), "architecture": ["lstm", "transformer"], "max_steps": [steps]}
    grid.write_text(yaml.safe_dump({"recipes": ["mini-anbn"], "axes": axes}))
    command = [sys.executable, "-m", "hf_ruleextrap", "sweep", str(grid), "--out", str(store), f"--workers={workers}"]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print the seconds of both sides and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of each cell (default 200 of 600)")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    print(f"12 cells of {arguments.steps} steps; {os.cpu_count()} cores, load before it {os.getloadavg()[0]:.1f}")
    pairs: list[tuple[float, float]] = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            one, two = (seconds(Path(folder), workers, arguments.steps) for workers in (1, 2))
        pairs.append((one, two))
        print(f"one worker {one:.1f} s, two workers {two:.1f} s: {one / two:.2f}x", flush=True)
    print(f"median {statistics.median(one / two for one, two in pairs):.2f}x")


if __name__ == "__main__":
    main()
