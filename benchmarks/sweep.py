"""How much faster a sweep is with two workers than with one.

    python benchmarks/sweep.py

Twelve cells, a^n b^n with each mini LSTM and Transformer for six seeds, a third of the mini recipe's steps; each side
into a store of its own, from the start of its workers to its last result, which is what a user waits for. It asks for
two idle cores: what else runs at the time makes the ratio smaller, and is said.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import yaml

from hf_ruleextrap.sweep.grid import read_grid
from hf_ruleextrap.sweep.sweep import run_sweep
from hf_ruleextrap.sweep.workers import Local

MINI = Path(__file__).parents[1] / "training" / "recipes" / "mini-anbn.yaml"


def seconds(folder: Path, workers: int, steps: int) -> float:
    grid = folder / "grid.yaml"
    axes = {"seed": list(range(6)), "architecture": ["lstm", "transformer"], "max_steps": [steps]}
    grid.write_text(yaml.safe_dump({"recipes": [str(MINI)], "axes": axes}))
    store = folder / f"workers-{workers}"
    cells = read_grid(grid, store)
    started = time.perf_counter()
    outcome = run_sweep(cells, store, Local(workers))
    taken = time.perf_counter() - started
    assert len(outcome.done) == 12
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of each cell (default 200 of 600)")
    steps = parser.parse_args().steps
    print(f"12 cells of {steps} steps; {os.cpu_count()} cores, load before it {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        one, two = (seconds(Path(folder), workers, steps) for workers in (1, 2))
    print(f"one worker {one:.1f} s, two workers {two:.1f} s: {one / two:.2f}x")


if __name__ == "__main__":
    main()
