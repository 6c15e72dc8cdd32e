"""Measure a training step of each architecture on one GPU with and without the installed kernels, and on the CPU.

    python benchmarks/gpu.py --out gpu.json

The step is that of ``benchmarks/architectures.py``: forward, backward and AdamW in fp32 at the paper's size, on the
paper's 128 words of a^n b^n. Times are medians after a warm-up, and the device is synchronized before and after each
step. The file contains one JSON object, which is also the last line of the output.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from hf_ruleextrap import build_model, get_language
from hf_ruleextrap.architectures import list_architectures
from hf_ruleextrap.evaluation.likelihood import token_rows
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.kernels import kernels_found, use_kernels

PACKAGES = ("mamba_ssm", "causal_conv1d", "mlstm_kernels", "kernels", "triton")


# The kernels of causal-conv1d compute convolutions of a width up to 4. The width in the paper's Mamba is 8.
VARIANTS = {"mamba, convolution of 4": ("mamba", {"conv_kernel": 4})}


def step_of(name: str, rows: torch.Tensor, *, fused: bool) -> Callable[[], None]:
    architecture, overrides = VARIANTS.get(name, (name, {}))
    model = build_model(architecture, vocab_size=5, size="paper", seed=0, **overrides).to(rows.device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=fused)
    targets = rows[:, 1:].flatten()

    def step() -> None:
        optimizer.zero_grad()
        logits = model(rows[:, :-1], use_cache=False).logits
        cross_entropy(logits.flatten(0, 1), targets, ignore_index=0).backward()
        optimizer.step()

    return step


def milliseconds(work: Callable[[], None], *, repeats: int, seconds: float) -> float:
    """Return the median time of up to ``repeats`` runs; new runs start only during the first ``seconds``."""
    work()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < repeats and (len(times) < 2 or time.perf_counter() - started < seconds):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        before = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - before)
    return 1000 * statistics.median(times)


def measure(name: str, ids: torch.Tensor, *, kernels: bool, repeats: int, seconds: float) -> dict[str, float | str]:
    use_kernels(kernels)
    try:
        torch.cuda.reset_peak_memory_stats()
        work = step_of(name, ids.cuda(), fused=True)
        time_in_ms = round(milliseconds(work, repeats=repeats, seconds=seconds), 3)
        return {"ms": time_in_ms, "peak_MB": round(torch.cuda.max_memory_allocated() / 1e6, 1)}
    except Exception as error:
        # A failure is recorded, and the other architectures are still measured.
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0]:.200}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=8.0, help="time limit of each measurement in seconds")
    parser.add_argument("--cpu", action="store_true", help="measure the CPU, too")
    parser.add_argument("--out", default="gpu.json")
    arguments = parser.parse_args()
    limits = {"repeats": arguments.repeats, "seconds": arguments.seconds}
    anbn = get_language("anbn")
    ids = torch.from_numpy(token_rows(WordBatch.from_strings(list(anbn.words(256))), anbn))
    results = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "packages": [package for package in PACKAGES if find_spec(package)],
        "computed_by": kernels_found(),
        "tokens": list(ids.shape),
        "steps": {},
    }
    for name in [*list_architectures(), *VARIANTS]:
        row = {
            "kernels": measure(name, ids, kernels=True, **limits),
            "plain": measure(name, ids, kernels=False, **limits),
        }
        if arguments.cpu:
            use_kernels(True)
            row["cpu"] = {"ms": round(milliseconds(step_of(name, ids, fused=True), repeats=2, seconds=5), 3)}
        results["steps"][name] = row
        print(name, json.dumps(row), flush=True)
    Path(arguments.out).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
