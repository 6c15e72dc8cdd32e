"""How a run uses its process: the number of threads, and the memory that it frees."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .recipe import Recipe

# Parameters of mallopt in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MEBIBYTE = 1 << 20
# Without calls of mallopt, glibc raises both thresholds up to these sizes.
MMAP_THRESHOLD, TRIM_THRESHOLD = 32 * MEBIBYTE, 64 * MEBIBYTE


@contextmanager
def few_threads(recipe: Recipe) -> Iterator[None]:
    """Compute a small model with one thread, unless ``OMP_NUM_THREADS`` states a number.

    On two idle cores, a second thread saves at most a fifth of the time of a mini run; beside other programs it made a
    run of 20 seconds take minutes. With one thread, the results do not depend on the number of cores either.
    """
    threads = torch.get_num_threads()
    if recipe.size == "mini" and not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep the memory of freed tensors in the process until the end of the context, as far as the C library is glibc.

    glibc returns each tensor of more than 32 MiB to the system when it is freed, and the system clears its pages when
    the next step asks for them again. That takes half of a training step of the paper's LSTM on 128 rows of 258 tokens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield
        return
    largest = 2**31 - 1
    mallopt(M_MMAP_THRESHOLD, largest)
    mallopt(M_TRIM_THRESHOLD, largest)
    try:
        yield
    finally:
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)
        ctypes.CDLL(None).malloc_trim(0)
