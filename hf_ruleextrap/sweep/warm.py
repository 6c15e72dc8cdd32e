"""All that a run imports, for the process that others are forked from."""

from __future__ import annotations

import gc
import importlib
import threading

from tqdm import tqdm

for _name in (
    "transformers.convert_slow_tokenizer",
    "transformers.generation.utils",
    "hf_ruleextrap.kernels.sequential_scan",
    "hf_ruleextrap.models",
    "hf_ruleextrap.train.run",
):
    importlib.import_module(_name)

# The lock that progress bars make by default is shared by all forked processes. A process that is killed while it holds
# that lock would stop every other process at its next bar. A lock of threads belongs to one process.
tqdm.set_lock(threading.RLock())

# What is here now is never collected again: a run's own collections are fast, and leave the memory shared.
gc.collect()
gc.freeze()
