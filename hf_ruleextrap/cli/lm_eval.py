"""``hf-ruleextrap lm-eval-path``."""

from __future__ import annotations

import argparse

from .common import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "lm-eval-path",
        help="print the folder with the tasks for lm-evaluation-harness, for its --include_path",
        description='lm-eval run --include_path "$(hf-ruleextrap lm-eval-path)" --tasks ruleextrap_anbn …',
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the path of the folder."""
    del arguments
    from hf_ruleextrap.evaluation.lm_eval import TASKS

    print(TASKS)
