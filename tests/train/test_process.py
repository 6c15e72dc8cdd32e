"""A run uses as many threads as it was told, and keeps the memory that it frees until its end."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import TINY

from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe


def test_one_setting_decides_the_threads_of_torch_and_numba() -> None:
    code = (
        "import hf_ruleextrap.kernels.sequential_scan, numba, torch;"
        "print(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_NUM_THREADS"}
    for setting, threads in (("1", "1 1"), ("2", "2 2")):
        command = [sys.executable, "-c", code]
        variables = {**environment, "OMP_NUM_THREADS": setting}
        printed = subprocess.run(command, env=variables, capture_output=True, text=True)
        assert printed.stdout.strip() == threads, printed.stderr


@pytest.mark.parametrize(("setting", "threads"), [(None, 1), ("2", 2)])
def test_a_small_model_trains_with_one_thread_unless_omp_num_threads_is_set(
    setting: str | None, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    if setting:
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    results = run_recipe(Recipe(**TINY, output_dir=str(tmp_path / "run"), use_cpu=True))
    assert results.timing.threads == threads
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


# Ten tensors of 128 MiB, each freed before the next. Printed: the pages that the system had to clear for them, without
# and with `kept_memory`, and the resident memory in KiB before and after the end of `kept_memory`.
FREED_TENSORS = """
import resource
import torch
from hf_ruleextrap.train.process import kept_memory

def cleared_pages(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.ones(32 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("VmRSS"))

cleared_pages(1)
numbers = [cleared_pages(10)]
with kept_memory():
    numbers += [cleared_pages(10), resident()]
print(*numbers, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="freed memory is kept with glibc alone")
def test_the_memory_of_a_freed_tensor_is_kept_for_the_next_one_and_returned_at_the_end() -> None:
    # In a process of its own: after a failed allocation, glibc serves the main thread from an arena that keeps nothing.
    printed = subprocess.run([sys.executable, "-c", FREED_TENSORS], capture_output=True, text=True, timeout=120)
    assert printed.returncode == 0, printed.stderr
    without, with_kept_memory, kept, returned = map(int, printed.stdout.split())
    # A small object can take a piece of a freed tensor, so that the next one does not fit there.
    assert with_kept_memory < without / 2
    assert returned < kept - (100 << 10)
