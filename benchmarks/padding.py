"""Measure how much an attention mask for padding, as collators create it, slows a training step.

    OMP_NUM_THREADS=1 python benchmarks/padding.py

The step is forward, backward and AdamW on 64 rows of random length, in processor seconds. In all cases, the rows are
padded to the same width, so that the cases differ only in the mask. The times are medians after one step of warm-up.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from hf_ruleextrap import build_model
from hf_ruleextrap.architectures import list_architectures

ROWS, COLUMNS = 64, {"mini": 33, "paper": 130}


def main() -> None:
    """Print a line for each architecture and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--size", choices=COLUMNS, nargs="*", default=["mini"])
    arguments = parser.parse_args()
    print(f"{'size':6} {'':12} {'no mask [ms]':>12} {'right':>6} {'left':>6} {'right, with state':>18}")
    for size in arguments.size:
        columns = COLUMNS[size]
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(3, 5, (ROWS, columns), generator=generator)
        lengths = torch.randint(2, columns + 1, (ROWS, 1), generator=generator)
        right = (torch.arange(columns) < lengths).long()
        cases = {
            "none": {},
            "right": {"attention_mask": right},
            "left": {"attention_mask": right.flip(1)},
            "right, with state": {"attention_mask": right, "use_cache": True},
        }
        for name in list_architectures():
            model = build_model(name, language="anbn", size=size, seed=0)
            optimizer = torch.optim.AdamW(model.parameters(), fused=True)
            times: dict[str, list[float]] = {case: [] for case in cases}
            for repeat in range(arguments.repeats + 1):
                for case, mask in cases.items():
                    started = time.process_time()
                    optimizer.zero_grad()
                    model(input_ids=ids, labels=ids, **mask).loss.backward()
                    optimizer.step()
                    times[case] += [time.process_time() - started] if repeat else []
            plain, *others = (statistics.median(values) for values in times.values())
            ratios = [f"{other / plain:.2f}" for other in others]
            print(f"{size:6} {name:12} {1000 * plain:12.2f} {ratios[0]:>6} {ratios[1]:>6} {ratios[2]:>18}", flush=True)


if __name__ == "__main__":
    main()
