"""``hf-ruleextrap recipes``."""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_ruleextrap.inputs import packaged_files

from .common import Commands, add_json, print_json


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("recipes", help="list the recipes, or show all values of one recipe")
    parser.set_defaults(run=list_recipes)
    add_json(parser)
    actions = parser.add_subparsers(metavar="show", parser_class=type(parser))
    show = actions.add_parser("show", help="print every key of a recipe, with the values that it inherits or computes")
    show.add_argument("recipe", help="a name that `hf-ruleextrap recipes` lists, or a recipe file (YAML)")
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    show.set_defaults(run=show_recipe)


def list_recipes(arguments: argparse.Namespace) -> None:
    """Print each recipe's name and the first sentence of its file."""
    if arguments.json:
        files = packaged_files("recipe").items()
        print_json({"name": name, "summary": _summary(path), "file": str(path)} for name, path in files)
        return
    print_recipes()


def print_recipes() -> None:
    """Print each recipe's name and the first sentence of its file, as a table."""
    files = packaged_files("recipe")
    width = max(map(len, files))
    for name, path in files.items():
        print(f"{name:{width}}  {_summary(path)}")


def show_recipe(arguments: argparse.Namespace) -> None:
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
