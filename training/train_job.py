# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-ruleextrap @ git+https://github.com/hf-ruleextrap/hf-ruleextrap"]
# ///
"""Train a recipe as a job on a machine without this package, and publish the checkpoint on the Hub.

    uv run training/train_job.py quickstart --hub_organization my-organization
    hf jobs uv run --flavor cpu-basic --secrets HF_TOKEN training/train_job.py mini-dyck --seed 1

The comment above is read by uv, which installs the package first (PEP 723). The arguments are those of
`hf-ruleextrap train`. The job needs a token that may write (`hf auth login`, or the secret HF_TOKEN); a missing
token is reported before the training.
"""

from __future__ import annotations

import sys

from hf_ruleextrap.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:], "--push_to_hub"]))
