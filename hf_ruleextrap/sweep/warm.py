"""Import every module that a run needs; the fork server imports this module before it forks workers."""

from __future__ import annotations

import gc
import importlib
import threading

from tqdm import tqdm

# Collections during the imports would take a third of their time.
gc.disable()
for _name in (
    "transformers.convert_slow_tokenizer",
    "transformers.generation.utils",
    "hf_ruleextrap.kernels.sequential_scan",
    "hf_ruleextrap.models",
    "hf_ruleextrap.train.run",
):
    importlib.import_module(_name)

# The default lock of progress bars is shared by all forked processes. A process that is killed while it holds this lock
# would stop every other process at its next bar. A lock of threads belongs to one process.
tqdm.set_lock(threading.RLock())

# The garbage collector ignores all existing objects from here on. A run's collections stay fast, and the memory
# of these objects stays shared.
gc.collect()
gc.freeze()
gc.enable()
