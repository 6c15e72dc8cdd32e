"""A grid of recipes: recipe files crossed with axes, each cell known by its recipe's hash."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ruleextrap.architectures import architecture_config
from hf_ruleextrap.errors import RuleExtrapError, unknown
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.formal import Language
from hf_ruleextrap.inputs import read_yaml
from hf_ruleextrap.languages import check_consent, get_language
from hf_ruleextrap.tokenization import SPECIAL_TOKENS
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.recipe_files import RecipeValues, find_recipe, merged, read_recipe
from hf_ruleextrap.train.trackers import check_tracker

_KEYS = ("recipes", "axes")
# What a run's results do not depend on.
_ELSEWHERE = {"output_dir", "use_cpu", "push_to_hub", "hub_organization", "report_to"}


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        key: names its folder in the store, as ``anbn-lstm-seed0-5c1e09ab``.
        recipe: with that folder as its run folder.
    """

    key: str
    recipe: Recipe


def read_grid(path: str | Path, store: str | Path) -> list[Cell]:
    """The cells of a grid file, all checked.

    A grid has ``recipes``, a list of recipe files (relative to the grid's own) or names (none for the defaults alone),
    and ``axes``, a list of values for any recipe key. A key of the model's config is an axis as ``model.KEY``.

    Args:
        path: the file (YAML).
        store: the folder that gets a run folder for each cell.

    Raises:
        RuleExtrapError: not a grid, an axis that no recipe has, a value that a run would refuse, two cells that are
            the same, or a language that is a class in a file and that `get_language` was not asked for before.
    """
    path = Path(path)
    grid = read_yaml(path, "grid")
    for key in grid:
        if key not in _KEYS:
            raise RuleExtrapError(f"{path}: {unknown('key', key, _KEYS)}")
    recipes, axes = grid.get("recipes") or [], grid.get("axes") or {}
    named = isinstance(recipes, list) and all(isinstance(name, str) for name in recipes)
    if not named or not isinstance(axes, dict) or not all(isinstance(axis, str) for axis in axes):
        raise RuleExtrapError(f"{path}: give `recipes` as a list of files, and `axes` as keys with lists of values")
    for axis, values in axes.items():
        if not axis.startswith("model.") and axis not in Recipe.model_fields:
            raise RuleExtrapError(f"{path}: {unknown('axis', axis, Recipe.model_fields)}")
        if not isinstance(values, list) or not values:
            raise RuleExtrapError(f"{path}: axis {axis} is {values!r}: give a list of values")
    bases = [(name, read_recipe(find_recipe(name, beside=path.parent), Recipe.model_fields)) for name in recipes] or [
        (str(path), RecipeValues({}))
    ]
    cells: dict[str, Cell] = {}
    for (name, base), chosen in itertools.product(bases, itertools.product(*axes.values())):
        language = chosen[list(axes).index("language")] if "language" in axes else base.values.get("language", "")
        check_consent(str(language), path if "language" in axes else base.places.get("language", name))
        recipe = Recipe.over(base, _overrides(dict(zip(axes, chosen, strict=True))), name)
        _check(recipe, name)
        key = key_of(recipe)
        if key in cells:
            raise RuleExtrapError(f"{path}: two cells are the same ({key}): remove one")
        cells[key] = Cell(key, recipe.model_copy(update={"output_dir": str(Path(store) / key)}))
    # One seed of everything before the next seed: a sweep that is cut short has something of all.
    return sorted(cells.values(), key=lambda cell: cell.recipe.seed)


def key_of(recipe: Recipe) -> str:
    """What a recipe's run is called: readable, and its own by a hash of all that decides the results."""
    # Without defaults, so that a key that recipes get later changes no key of today.
    values = recipe.model_dump(exclude=_ELSEWHERE, exclude_defaults=True)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return safe_name(f"{recipe.language_name}-{recipe.architecture}-seed{recipe.seed}-{digest[:8]}")


def _overrides(chosen: dict[str, Any]) -> dict[str, Any]:
    """The values of the axes as keys of a recipe, those of ``model.KEY`` in its ``model``."""
    model = {key.removeprefix("model."): value for key, value in chosen.items() if key.startswith("model.")}
    plain = {key: value for key, value in chosen.items() if not key.startswith("model.")}
    return merged(plain, {"model": model}) if model else plain


def _check(recipe: Recipe, where: str) -> None:
    """What a run would refuse at its start is refused before any cell runs."""
    try:
        check_tracker(recipe.report_to)
        language: Language = get_language(recipe.language, paper=recipe.paper)
        language.check_length(recipe.max_length)
        if recipe.prompt_length is not None:
            language.prompts(length=recipe.prompt_length)
        vocabulary = len(SPECIAL_TOKENS) + len(language.alphabet)
        architecture_config(recipe.architecture, size=recipe.size, vocab_size=vocabulary, overrides=recipe.network)
    except RuleExtrapError as error:
        raise RuleExtrapError(f"{where}: {error}") from None
