"""Train on a formal language and score rule extrapolation.

    accelerate launch training/train.py training/recipes/quickstart.yaml
    python training/train.py training/recipes/quickstart.yaml --seed 1 --output_dir runs/seed1

Every key of a recipe is a flag, too; `--help` lists them.
"""

from __future__ import annotations

import sys

from hf_ruleextrap.cli import train

if __name__ == "__main__":
    sys.exit(train())
