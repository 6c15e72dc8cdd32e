"""Run a grid of recipes into one store.

    python training/sweep.py training/grids/mini.yaml --out runs/mini

The script does the same as ``hf-ruleextrap sweep``.
"""

from __future__ import annotations

import sys

from hf_ruleextrap.cli import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
