"""The process from which workers are forked holds no lock that a dead worker could keep from the others."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A lock of multiprocessing is a semaphore that all forked processes share, and stays locked if its holder dies.
PROGRAM = """
import io
import hf_ruleextrap.sweep.warm
from multiprocessing import synchronize
from datasets.utils import tqdm as bar_of_datasets
from huggingface_hub.utils import tqdm as bar_of_the_hub
from tqdm.auto import tqdm

def refuse(*_):
    raise AssertionError("a lock that forked processes share")

synchronize.SemLock.__init__ = refuse
for bar in (tqdm, bar_of_datasets, bar_of_the_hub):
    bar(total=1, file=io.StringIO()).close()
"""


@pytest.mark.timeout(180)
def test_progress_bars_share_no_lock_between_processes() -> None:
    process = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
