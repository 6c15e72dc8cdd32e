"""All that a run imports, for the process that others are forked from."""

from __future__ import annotations

import gc
import importlib

for _name in (
    "transformers.convert_slow_tokenizer",
    "transformers.generation.utils",
    "hf_ruleextrap.kernels.sequential_scan",
    "hf_ruleextrap.models",
    "hf_ruleextrap.train.run",
):
    importlib.import_module(_name)

# What is here now is never collected again: a run's own collections are fast, and leave the memory shared.
gc.collect()
gc.freeze()
