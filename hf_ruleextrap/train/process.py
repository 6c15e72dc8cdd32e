"""How a run uses its process: the number of threads, and the memory that it frees."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .recipe import Recipe

# The thresholds in glibc's malloc.h, each with the size up to which glibc raises the threshold by itself.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 64 << 20
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 32 << 20
_LARGEST_INT = 2**31 - 1


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
    """Keep the memory of freed tensors in the process until the end of the context, if the C library is glibc.

    glibc returns the memory of each freed tensor of more than 32 MiB to the system, and the system clears the pages
    that the next step asks for. That takes half of a training step of the paper's LSTM on 128 rows of 258 tokens.
    In other threads than the main one, and after a failed allocation, glibc returns the memory nevertheless.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_INT)
    library.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
    try:
        yield
    finally:
        library.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        library.malloc_trim(0)
