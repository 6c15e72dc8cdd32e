"""``python -m hf_ruleextrap`` is ``hf-ruleextrap``."""

from __future__ import annotations

import sys

from hf_ruleextrap.cli import main

if __name__ == "__main__":
    sys.exit(main())
