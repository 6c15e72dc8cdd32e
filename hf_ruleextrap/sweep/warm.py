"""All that a run imports, for the process that others are forked from."""

from __future__ import annotations

import gc

import transformers.convert_slow_tokenizer
import transformers.generation.utils

import hf_ruleextrap.kernels.selective_scan
import hf_ruleextrap.models
import hf_ruleextrap.train.run  # noqa: F401  # importing is what this module is for

# What is here now is never collected again: a run's own collections are fast, and leave the memory shared.
gc.collect()
gc.freeze()
