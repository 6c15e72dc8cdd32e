"""The rational learners of a run's training words: their rates, and the learner that the run's checkpoint resembles."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_ruleextrap.disk_cache import cached, language_key
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.rational_references import LearnerRates, learner_rates, learners_of
from hf_ruleextrap.evaluation.resemblance import Divergence, nearest_learners
from hf_ruleextrap.formal import Language, PromptSet, WordBatch
from hf_ruleextrap.languages import recorded_language

from .folder import RunFolder
from .recipe import Recipe
from .task import splits_of

_DATA_KEYS = {
    *("language", "paper", "max_length", "train_size", "held_out_size", "disjoint", "seed"),
    *("prompt_length", "max_new_symbols", "by_length"),
}
"""The keys of a recipe on which the words and the prompts of a run depend."""

_MOST_PROMPTS = 64
"""The largest number of prompts after which a checkpoint is compared with the learners."""


@dataclass(frozen=True)
class RationalRates:
    """The rates of the rational learners that have seen a run's training words, on the run's OOD prompts.

    Attributes:
        rows: The rates of `rational-uniform`, `rational-simple` and `rational-modular`; empty if the rates are unknown.
        reason: The reason why the rates are unknown; empty if they are known.
    """

    rows: tuple[LearnerRates, ...]
    reason: str = ""


def rational_rates(recipe: Recipe) -> RationalRates:
    """Return the rates of the rational learners of a run, which depend only on its recipe.

    The first call for a language and seed takes up to a minute; later calls read the rates from a cache on disk.
    """
    language = recorded_language(recipe.language, paper=recipe.paper)
    if language is None:
        return RationalRates((), f"the language {recipe.language} is not known here")

    def compute() -> list[LearnerRates]:
        words, prompts = _words_and_prompts(recipe, language)
        return learner_rates(language, words, prompts, max_new_symbols=recipe.completion_limit)

    key = {**language_key(language), **recipe.model_dump(include=_DATA_KEYS)}
    try:
        return RationalRates(tuple(cached("rational-rates-of-runs", key, list[LearnerRates], compute)))
    except RuleExtrapError as error:
        return RationalRates((), str(error))


def resemblance_of(folder: str | Path) -> list[Divergence]:
    """Return the divergence of each rational learner of a run's words from the run's checkpoint, the nearest first.

    The divergences are those of `resemblance.nearest_learners` on the run's OOD prompts that leave a rule open, or on
    64 of them, drawn at random. They are cached on disk by the bytes of the checkpoint.

    Args:
        folder: A finished run folder.

    Raises:
        RuleExtrapError: If the folder holds no checkpoint, the language is unknown or has no rational learner, or the
            model cannot read prompts and completions of the learners' length.
    """
    recipe, weights = RunFolder(folder).recipe(), Path(folder) / "model.safetensors"
    if recipe is None or not weights.is_file():
        raise RuleExtrapError(f"{folder} holds no checkpoint of a run: give the folder of a finished run")
    language = recorded_language(recipe.language, paper=recipe.paper)
    if language is None:
        raise RuleExtrapError(f"the language {recipe.language} is not known here: give a run of a built-in language")

    def compute() -> list[Divergence]:
        from hf_ruleextrap.completers.loading import load_model

        words, prompts = _words_and_prompts(recipe, language)
        rows = np.flatnonzero(prompts.in_headline)
        if len(rows) > _MOST_PROMPTS:
            rows = np.sort(np.random.default_rng(0).choice(rows, _MOST_PROMPTS, replace=False))
        return nearest_learners(load_model(folder), learners_of(language, words), prompts.take(rows))

    weights_digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    key = {**language_key(language), **recipe.model_dump(include=_DATA_KEYS), "weights": weights_digest}
    return cached("rational-resemblance", key, list[Divergence], compute)


def _words_and_prompts(recipe: Recipe, language: Language) -> tuple[WordBatch, PromptSet]:
    """Return the training words and the OOD prompts of a run."""
    prompts = language.prompts(length=recipe.prompt_length, rng=np.random.default_rng(recipe.seed))
    return splits_of(recipe, language).train, prompts.of_kind("ood")
