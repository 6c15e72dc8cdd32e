"""A grid crosses recipe files with axes. A hash of its recipe names each cell."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ruleextrap.architectures import architecture_config
from hf_ruleextrap.errors import RuleExtrapError, unknown
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.formal import Language
from hf_ruleextrap.inputs import find_file, read_yaml
from hf_ruleextrap.languages import check_consent, get_language
from hf_ruleextrap.tokenization import SPECIAL_TOKENS
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.recipe_files import RecipeValues, merged, read_recipe
from hf_ruleextrap.train.task import check_lengths
from hf_ruleextrap.train.trackers import check_tracker

_KEYS = ("recipes", "axes", "parts")
_MOST_CELLS = 100_000
# The recipe keys that decide which lengths of words and prompts a run needs.
_LENGTHS = {"language", "paper", "max_length", "prompt_length", "by_length", "mass_length"}
# The recipe keys that do not affect the results of a run.
_ELSEWHERE = {"output_dir", "use_cpu", "push_to_hub", "hub_organization", "report_to"}


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        key: The name of the cell's folder in the store, such as ``anbn-lstm-seed0-5c1e09ab``.
        recipe: The recipe, whose run folder is that folder.
    """

    key: str
    recipe: Recipe


def read_grid(path: str | Path, store: str | Path) -> list[Cell]:
    """Read the cells of a grid file and check all of them.

    A grid has ``recipes``, a list of recipe names or of files relative to the grid file, and ``axes``, which maps
    recipe keys to lists of values. A grid without recipes crosses its axes with the default recipe. The axis
    ``model.KEY`` sets a key of the model's config. Instead of both, a grid may have ``parts``, a list of such grids.
    The cells of a part come before those of the next part, and a cell of several parts runs once.

    Args:
        path: The grid file (YAML), or the name of a grid of the package.
        store: The folder in which each cell gets a run folder.

    Raises:
        RuleExtrapError: If the file is not a grid or has no cell, if an axis is not a recipe key, if a run would refuse
            a value, if two cells of a part are the same, or if a language is a class in a file that the user has not
            named with `get_language` before.
    """
    path = find_file("grid", path)
    grid = read_yaml(path, "grid")
    parts = grid.get("parts", [grid])
    are_grids = isinstance(parts, list) and all(isinstance(part, dict) for part in parts)
    if "parts" in grid and (len(grid) > 1 or not are_grids):
        raise RuleExtrapError(f"{path}: give `parts` alone, as a list of grids with recipes and axes")
    if not parts:
        raise RuleExtrapError(f"{path}: `parts` is empty: give a list of grids with recipes and axes")
    cells: dict[str, Cell] = {}
    for number, part in enumerate(parts, start=1):
        where = f"{path}, part {number}" if "parts" in grid else str(path)
        for recipe in _recipes(part, path, where):
            key = key_of(recipe)
            cells.setdefault(key, Cell(key, recipe.model_copy(update={"output_dir": str(Path(store) / key)})))
    return list(cells.values())


def _recipes(part: dict[str, Any], path: Path, where: str) -> list[Recipe]:
    """Return the recipes of one part of a grid, checked and in the order in which they run."""
    for key in part:
        if key not in _KEYS[:2]:
            # Only a whole grid can have parts.
            allowed = _KEYS[:2] if key == "parts" else _KEYS
            raise RuleExtrapError(f"{where}: {unknown('key', str(key), allowed)}")
    # A key without a value counts as a key that is not there.
    files = [] if part.get("recipes") is None else part["recipes"]
    axes = {} if part.get("axes") is None else part["axes"]
    has_recipe_names = isinstance(files, list) and all(isinstance(name, str) for name in files)
    if not has_recipe_names or not isinstance(axes, dict) or not all(isinstance(axis, str) for axis in axes):
        raise RuleExtrapError(f"{where}: give `recipes` as a list of files, and `axes` as keys with lists of values")
    if not files and not axes:
        raise RuleExtrapError(f"{where} has neither recipes nor axes: give one of them, such as `recipes: [mini-anbn]`")
    for axis, values in axes.items():
        if not axis.startswith("model.") and axis not in Recipe.model_fields:
            raise RuleExtrapError(f"{where}: {unknown('axis', axis, Recipe.model_fields)}")
        if not isinstance(values, list) or not values:
            raise RuleExtrapError(f"{where}: axis {axis} is {values!r}: give a list of values")
    number_of_cells = max(1, len(files)) * math.prod(map(len, axes.values()))
    if number_of_cells > _MOST_CELLS:
        raise RuleExtrapError(f"{where} has {number_of_cells:,} cells: give shorter axes, for at most {_MOST_CELLS:,}")
    bases = [(name, read_recipe(name, Recipe.model_fields, beside=path.parent)) for name in files] or [
        (where, RecipeValues({}))
    ]
    recipes: dict[str, Recipe] = {}
    checked: set[str] = set()
    for (name, base), chosen in itertools.product(bases, itertools.product(*axes.values())):
        language = chosen[list(axes).index("language")] if "language" in axes else base.values.get("language", "")
        check_consent(str(language), path if "language" in axes else base.places.get("language", name))
        recipe = Recipe.over(base, _overrides(dict(zip(axes, chosen, strict=True))), name)
        _check(recipe, name, checked)
        key = key_of(recipe)
        if key in recipes:
            raise RuleExtrapError(f"{where}: two cells are the same ({key}): remove one")
        recipes[key] = recipe
    # All cells of one seed come before the next seed, so that an interrupted sweep covers every combination.
    return sorted(recipes.values(), key=lambda recipe: recipe.seed)


def key_of(recipe: Recipe) -> str:
    """Return the name of a recipe's run: readable words and a hash of every setting that decides the results."""
    # Defaults are excluded, so that a recipe key added in a later version changes no existing name.
    values = recipe.model_dump(exclude=_ELSEWHERE, exclude_defaults=True)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return safe_name(f"{recipe.language_name}-{recipe.architecture}-seed{recipe.seed}-{digest[:8]}")


def key_without_seed(recipe: Recipe) -> str:
    """Return a name that all recipes share that differ only in the seed."""
    return key_of(recipe.model_copy(update={"seed": 0}))


def standard_order(recipes: Iterable[Recipe]) -> Callable[[Recipe], tuple[bool, int]]:
    """Return a key that sorts the runs of one language and architecture so that the standard recipe comes first.

    A recipe that trains on words alone comes before a recipe that trains on OOD prompts, whose rate is no
    extrapolation. Among these, a recipe comes first if more of the runs share all its keys except the seed.
    """
    shared = Counter(map(key_without_seed, recipes))
    return lambda recipe: (recipe.objective != "likelihood", -shared[key_without_seed(recipe)])


def _overrides(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the axes as recipe keys; the axes ``model.KEY`` become the mapping ``model``."""
    model = {key.removeprefix("model."): value for key, value in chosen.items() if key.startswith("model.")}
    plain = {key: value for key, value in chosen.items() if not key.startswith("model.")}
    return merged(plain, {"model": model}) if model else plain


def _check(recipe: Recipe, where: str, checked: set[str]) -> None:
    """Check, before any cell runs, the values that a run would refuse at its start.

    Args:
        recipe: The recipe of a cell.
        where: The name of its source in an error message.
        checked: The lengths of the recipes before this one; listing all prompts of a length can take a second.
    """
    try:
        check_tracker(recipe.report_to)
        language: Language = get_language(recipe.language, paper=recipe.paper)
        lengths = recipe.model_dump_json(include=_LENGTHS)
        if lengths not in checked:
            check_lengths(recipe, language)
            checked.add(lengths)
        vocabulary = len(SPECIAL_TOKENS) + len(language.alphabet)
        architecture_config(recipe.architecture, size=recipe.size, vocab_size=vocabulary, overrides=recipe.network)
    except RuleExtrapError as error:
        raise RuleExtrapError(f"{where}: {error}") from None
