"""Run a grid of recipes into one store.

    python training/sweep.py training/grids/mini.yaml --out runs/mini

It is what ``hf-ruleextrap sweep`` does.
"""

from __future__ import annotations

import sys

from hf_ruleextrap.cli import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
