"""The commands on training: ``train``, which is ``training/train.py``, ``recipes``, ``architectures``, ``plot``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.costs import any_cost
from hf_ruleextrap.errors import RuleExtrapError, folded
from hf_ruleextrap.inputs import packaged_files

from .boundary import check_words, run_command
from .common import Commands, Parser, add_json, add_wait, add_yes, fast_imports, import_models, print_json, quiet_hub

if TYPE_CHECKING:
    from hf_ruleextrap.train.recipe import Recipe


def add(commands: Commands) -> None:
    """Add the commands on training."""
    _add_train(commands)
    _add_recipes(commands)
    _add_architectures(commands)
    _add_plot(commands)


def _add_train(commands: Commands) -> None:
    # The flags are the keys of a recipe, and `train` parses them.
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
            print("hf-ruleextrap train RECIPE trains a recipe. RECIPE is a file (YAML) or a name:\n")
            _print_recipes()
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
            from hf_ruleextrap.train.console import show_results

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


def _add_recipes(commands: Commands) -> None:
    parser = commands.add_parser("recipes", help="list the recipes, or show all values of one recipe")
    parser.set_defaults(run=_list_recipes)
    add_json(parser)
    actions = parser.add_subparsers(metavar="show", parser_class=type(parser))
    show = actions.add_parser("show", help="print every key of a recipe, with the values that it inherits or computes")
    show.add_argument("recipe", help="a name that `hf-ruleextrap recipes` lists, or a recipe file (YAML)")
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    show.set_defaults(run=_show_recipe)


def _list_recipes(arguments: argparse.Namespace) -> None:
    """Print each recipe's name and the first sentence of its file."""
    if arguments.json:
        files = packaged_files("recipe").items()
        print_json({"name": name, "summary": _summary(path), "file": str(path)} for name, path in files)
        return
    _print_recipes()


def _print_recipes() -> None:
    """Print each recipe's name and the first sentence of its file, as a table."""
    files = packaged_files("recipe")
    width = max(map(len, files))
    for name, path in files.items():
        print(folded(f"{name:{width}}  {_summary(path)}", width + 2))


def _show_recipe(arguments: argparse.Namespace) -> None:
    """Print all values of a recipe, in the form of a recipe file."""
    from hf_ruleextrap.train.recipe import Recipe
    from hf_ruleextrap.train.recipe_files import read_recipe

    recipe = Recipe.from_file(arguments.recipe)
    if arguments.json:
        print_json(recipe.model_dump())
        return
    print(f"# {', which extends '.join(map(str, read_recipe(arguments.recipe, Recipe.model_fields).chain))}")
    print(recipe.to_yaml(), end="")


def _summary(path: Path) -> str:
    """Return the first sentence of the comment at the beginning of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return comment.partition(". ")[0].partition(" Run it:")[0].rstrip(".")


def _add_architectures(commands: Commands) -> None:
    parser = commands.add_parser("architectures", help="list the architectures, their sizes and kernels")
    add_json(parser)
    parser.set_defaults(run=_architectures)


def _architectures(arguments: argparse.Namespace) -> None:
    """Print the architectures."""
    from hf_ruleextrap.kernels import kernels_found
    from hf_ruleextrap.presets import get_preset, list_architectures

    kernels = kernels_found()
    rows: list[dict[str, Any]] = [
        {
            "name": preset.name,
            "summary": preset.summary,
            "model_type": preset.model_type,
            "parameters": dict(preset.parameters),
            "computed_by": kernels.get(preset.name, "torch"),
        }
        for preset in map(get_preset, list_architectures())
    ]
    if arguments.json:
        print_json(rows)
        return
    for row in rows:
        counted = ", ".join(f"{size} {count:,}" for size, count in row["parameters"].items())
        print(folded(f"{row['name']:12} {row['summary']}", 13))
        facts = f"model_type {row['model_type']}; parameters for two symbols: {counted}; {row['computed_by']}"
        print(folded(f"{'':12} {facts}", 13))
    print(folded("Every causal model type of transformers is also an architecture; set its sizes with --set."))


def _add_plot(commands: Commands) -> None:
    parser = commands.add_parser("plot", help="draw the loss and the rates of a run")
    parser.add_argument("run_folder", metavar="run", help="the run folder")
    parser.add_argument(
        "--out", help="the file of the figure: .png, .svg or .pdf (default: plot.png in the run folder)"
    )
    parser.set_defaults(run=_plot)


def _plot(arguments: argparse.Namespace) -> None:
    """Draw a run."""
    from hf_ruleextrap.train.plot import plot_run

    folder = Path(arguments.run_folder)
    out = Path(arguments.out) if arguments.out is not None else folder / "plot.png"
    plot_run(folder, out)
    print(out)
