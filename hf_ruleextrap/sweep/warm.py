"""All that a run imports, for the process that others are forked from."""

from __future__ import annotations

import hf_ruleextrap.kernels
import hf_ruleextrap.train.run  # noqa: F401  # importing is what this module is for
