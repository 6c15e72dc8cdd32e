"""The rational learners of a run's training words: their rates, and the learner that the run's checkpoint resembles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_ruleextrap.disk_cache import cached, language_key
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.rational_references import LearnerRates, learner_rates
from hf_ruleextrap.languages import recorded_language

from .recipe import Recipe, splits_of

_DATA_KEYS = {
    *("language", "paper", "max_length", "train_size", "held_out_size", "disjoint", "seed"),
    *("prompt_length", "max_new_symbols", "by_length"),
}
"""The keys of a recipe on which the words and the prompts of a run depend."""


@dataclass(frozen=True)
class RationalRates:
    """The rates of the rational learners that have seen a run's training words, on the run's OOD prompts.

    Attributes:
        rows: the rates of `rational-uniform`, `rational-simple` and `rational-modular`; empty if they are unknown.
        reason: why they are unknown, else empty.
    """

    rows: tuple[LearnerRates, ...]
    reason: str = ""


def rational_rates(recipe: Recipe) -> RationalRates:
    """Return the rates of the rational learners of a run, which depend on its recipe alone.

    The first call for a language and seed takes up to a minute; later ones read the rates from a cache on disk.
    """
    language = recorded_language(recipe.language, paper=recipe.paper)
    if language is None:
        return RationalRates((), f"the language {recipe.language} is not known here")

    def compute() -> list[LearnerRates]:
        prompts = language.prompts(length=recipe.prompt_length, rng=np.random.default_rng(recipe.seed)).of_kind("ood")
        words = splits_of(recipe, language).train
        return learner_rates(language, words, prompts, max_new_symbols=recipe.completion_limit)

    key = {**language_key(language), **recipe.model_dump(include=_DATA_KEYS)}
    try:
        return RationalRates(tuple(cached("rational-rates-of-runs", key, list[LearnerRates], compute)))
    except RuleExtrapError as error:
        return RationalRates((), str(error))
