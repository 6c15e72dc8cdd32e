"""A run uses as many threads as it was told, and keeps the memory that it frees until its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import TINY

from hf_ruleextrap.train.process import kept_memory
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


def resident_mebibytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def page_faults() -> int:
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def pages_of_tensors(count: int) -> int:
    """Make tensors of 128 MiB, free each before the next, and return how many pages the system had to clear."""
    before = page_faults()
    for _ in range(count):
        torch.ones(32 << 20)
    return page_faults() - before


@pytest.mark.skipif(sys.platform != "linux", reason="freed memory is kept with glibc alone")
def test_the_memory_of_a_freed_tensor_is_kept_for_the_next_one_and_returned_at_the_end() -> None:
    pages_of_tensors(1)
    pages = pages_of_tensors(10)
    with kept_memory():
        # A small object can take a piece of a freed tensor, so that the next one does not fit there.
        assert pages_of_tensors(10) < pages / 2
        kept = resident_mebibytes()
    assert resident_mebibytes() < kept - 100
