"""Measure how long the commands take before their work begins, in processor seconds of whole processes.

    python benchmarks/startup.py

Each command is compared with a bare interpreter that imports only the libraries that the command needs: NumPy, or
torch, transformers and its Trainer. Both sides run in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

NUMPY = ["-c", "import numpy"]
TRAINER = ["-c", "import torch, transformers; from transformers import Trainer"]


def seconds(arguments: list[str]) -> float:
    """Return the processor time of one Python process and its children."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Print the medians of both sides and of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        run = ["--output_dir", f"{folder}/run"]
        commands = {
            "architectures": (["architectures"], NUMPY),
            "train quickstart --max_steps 1": (["train", "quickstart", "--max_steps=1", "--overwrite", *run], TRAINER),
            "evaluate --model RUN": (["evaluate", "--model", f"{folder}/run", "--language=anbn"], TRAINER),
        }
        print(f"{'command':32}{'command [s]':>12}{'imports [s]':>12}{'ratio':>7}")
        for name, (words, imports) in commands.items():
            command = ["-m", "hf_ruleextrap", *words]
            seconds(command), seconds(imports)
            pairs = [(seconds(command), seconds(imports)) for _ in range(repeats)]
            ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            print(f"{name:32}{ours:12.2f}{bare:12.2f}{ratio:7.2f}", flush=True)


if __name__ == "__main__":
    main()
