"""``hf-ruleextrap train``, which is ``training/train.py``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from .common import Commands, Parser, quiet, reporting


def add(commands: Commands) -> None:
    """Add the command; its flags are the recipe's keys, and `train` parses them itself."""
    commands.add_parser("train", help="train on a language, complete its prompts, score them", add_help=False)


def train(argv: Sequence[str] | None = None, *, prog: str = "train.py") -> int:
    """``hf-ruleextrap train`` and ``training/train.py``: a recipe and flags, then a run."""
    from hf_ruleextrap.train.recipe import add_arguments, from_arguments

    parser = Parser(prog=prog, description="Train on a language, complete its prompts, score them.", allow_abbrev=False)
    add_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what the run folder holds")
    parser.add_argument("--json", action="store_true", help="print results.json instead of the table")

    def work() -> None:
        arguments = parser.parse_args(argv)
        recipe = from_arguments(arguments)
        quiet()
        from hf_ruleextrap.train.run import run
        from hf_ruleextrap.train.sharing import leave

        organization = recipe.hub_organization
        if recipe.push_to_hub:
            # Who may not publish is told so before hours of training.
            from hf_ruleextrap.hub.push import account

            name = account()
            organization = organization or name
        # Trackers print, too; stdout is for the results.
        with redirect_stdout(sys.stderr):
            results = run(recipe, overwrite=arguments.overwrite)
        from accelerate import PartialState

        is_main = PartialState().is_main_process
        leave()
        if not is_main:
            return
        if arguments.json:
            print(results.model_dump_json(indent=2))
        else:
            from hf_ruleextrap.train.show import show

            show(results)
        if recipe.push_to_hub and organization is not None:
            from hf_ruleextrap.hub.push import push_run

            print(push_run(recipe.run_dir, organization), file=sys.stderr if arguments.json else sys.stdout)

    return reporting(work)
