"""``hf-ruleextrap train``, which is ``training/train.py``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from hf_ruleextrap.costs import any_cost
from hf_ruleextrap.errors import RuleExtrapError

from .boundary import check_words, run_command
from .common import Commands, Parser, add_wait, add_yes, fast_imports, import_models, quiet_hub
from .recipes import print_recipes

if TYPE_CHECKING:
    from hf_ruleextrap.train.recipe import Recipe


def add(commands: Commands) -> None:
    """Add the command. Its flags are the keys of a recipe, and `train` parses them."""
    commands.add_parser(
        "train", help="train a model on a language, complete its prompts, and score the completions", add_help=False
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the recipe argument and the flags of ``train``."""
    from hf_ruleextrap.train.recipe import add_arguments

    add_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the run folder")
    add_wait(parser)
    parser.add_argument("--json", action="store_true", help="print results.json instead of the table")
    add_yes(parser)


def train(argv: Sequence[str] | None = None, *, prog: str = "train.py") -> int:
    """Run ``hf-ruleextrap train`` or ``training/train.py``: a recipe and flags describe the run."""
    from hf_ruleextrap.train.recipe import from_arguments
    from hf_ruleextrap.train.recipe_files import OTHER_NAMES

    parser = Parser(
        prog=prog,
        description="Train a model on a language, complete its prompts, and score the completions.",
        allow_abbrev=False,
    )
    parser.foreign_flags = OTHER_NAMES
    add_flags(parser)

    def work() -> None:
        words = sys.argv[1:] if argv is None else argv
        check_words(words)
        if not words:
            print("hf-ruleextrap train RECIPE trains a recipe. RECIPE is a file (YAML) or one of these names:\n")
            print_recipes()
            return
        arguments = parser.parse_args(argv)
        recipe = from_arguments(arguments)
        import_models()
        owner = None
        if recipe.push_to_hub:
            # Missing permission is reported before hours of training.
            from hf_ruleextrap.hub.push import publisher

            quiet_hub()
            owner = publisher(recipe.hub_organization)
        with fast_imports():
            from accelerate import PartialState

            from hf_ruleextrap.train.folder import RunFolder
            from hf_ruleextrap.train.run import leave, run_recipe

        # Repeating the command has the same outcome: an earlier call may have failed to publish.
        folder = RunFolder(recipe.run_dir)
        if not arguments.overwrite and folder.finished(recipe) is not None and PartialState().is_main_process:
            print(
                f"{folder.path} already contains the results of this run; --overwrite trains it again", file=sys.stderr
            )
        # Trackers print on stdout, too, which is reserved for the results.
        with any_cost(arguments.yes), redirect_stdout(sys.stderr):
            results = run_recipe(recipe, overwrite=arguments.overwrite, wait=arguments.wait)

        is_main = PartialState().is_main_process
        leave()
        if not is_main:
            return
        if arguments.json:
            print(results.model_dump_json(indent=2))
        else:
            from hf_ruleextrap.train.show import show_results

            show_results(results)
            _draw(recipe)
        if owner is not None:
            print(_publish(recipe, owner), file=sys.stderr if arguments.json else sys.stdout)

    return run_command(work)


def _draw(recipe: Recipe) -> None:
    """Draw the loss and the rates of the run into its folder, if matplotlib is installed, and print the file."""
    from hf_ruleextrap.train.plot import plot_run

    path = recipe.run_dir / "plot.png"
    try:
        if not path.exists():
            plot_run(recipe.run_dir, path)
    except RuleExtrapError as error:
        print(f"note: no plot is drawn: {error}", file=sys.stderr)
    else:
        print(f"plot of the loss and the rates: {path}")


def _publish(recipe: Recipe, owner: str) -> str:
    """Publish the finished run. A failure says how to publish the run without training it again."""
    from hf_ruleextrap.hub.push import push_run

    try:
        return push_run(recipe.run_dir, owner)
    except RuleExtrapError as error:
        command = f"hf-ruleextrap publish checkpoint {recipe.run_dir} --org {owner} --push-to-hub"
        raise RuleExtrapError(
            f"{error}; the run is finished, and the same command, or `{command}`, publishes it without training"
        ) from None
