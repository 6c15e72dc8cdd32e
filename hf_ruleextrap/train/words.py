"""The words that a recipe trains on and is measured on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hf_ruleextrap.costs import check_cost
from hf_ruleextrap.data import Splits, build_splits, replace_by_noise
from hf_ruleextrap.formal import Language

from .recipe import Recipe


def splits_of(recipe: Recipe, language: Language) -> Splits:
    """Build the training, validation and test words of a recipe."""
    splits = build_splits(
        language,
        max_length=recipe.max_length,
        train_size=recipe.train_size,
        held_out_size=recipe.held_out_size,
        seed=recipe.seed,
        disjoint=recipe.disjoint,
        prompt_lengths=[recipe.prompt_length or language.prompt_length, *recipe.by_length],
    )
    # Generators of their own: these words do not depend on the sizes of validation and test.
    rng = np.random.default_rng([recipe.seed, 2])
    train = splits.train
    if recipe.stream:
        n = recipe.max_steps * recipe.batch_size
        check_cost(f"a stream of {n:,} words", "give smaller max_steps", size=n * (recipe.max_length + 2) * 10)
        train = language.sample(n, max_length=recipe.max_length, rng=rng)
    elif recipe.noise:
        train = replace_by_noise(train, language, recipe.noise, rng)
    return replace(splits, train=train)
