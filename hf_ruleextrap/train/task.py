"""What a recipe trains on and is measured by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.causality import looks_ahead
from hf_ruleextrap.completers import Completer, LocalModel
from hf_ruleextrap.data import Splits
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluation, Evaluator
from hf_ruleextrap.evaluation.likelihood import Likelihood, measure_likelihood, token_rows
from hf_ruleextrap.evaluation.mass import check_size, exact_mass
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.formal.entropy import Entropy
from hf_ruleextrap.formal.words import IntArray
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.tokenization import build_tokenizer

from .recipe import Recipe, splits_of
from .sharing import Shared

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MOST_PROMPTS = 256
"""Of each kind, where rates are taken at several prompt lengths."""


@dataclass(frozen=True)
class Task:
    """Data, prompts and measures of one recipe."""

    recipe: Recipe
    language: Language
    splits: Splits
    tokenizer: PreTrainedTokenizerBase
    evaluator: Evaluator

    @classmethod
    def of(cls, recipe: Recipe) -> Task:
        """Make the data and the prompts.

        Raises:
            RuleExtrapError: unknown language, too small a length, no prompts.
        """
        language = get_language(recipe.language, paper=recipe.paper)
        if recipe.mass_length is not None:
            check_size(language, 1, recipe.mass_length)
        splits = splits_of(recipe, language)
        task = cls(recipe, language, splits, build_tokenizer(language), _evaluator(recipe, language, splits))
        for length in recipe.by_length:
            language.prompts(length=length, limit=1)
        return task

    def rows(self, split: str, *, full: bool) -> IntArray:
        """Token ids of a split: as wide as the longest word may be (``full``), or as the longest word there is."""
        width = self.recipe.max_length + 2 if full else None
        return token_rows(getattr(self.splits, split), self.language, width=width)

    def completed_prompts(self) -> tuple[IntArray, IntArray] | None:
        """What the objective adds to the likelihood: all OOD prompts that leave a rule open, completed.

        Returns:
            (N, T) token ids and (N, T) labels, -100 everywhere but at the completion and its EOS; or None.

        Raises:
            RuleExtrapError: there are none that end within the limit.
        """
        made = {"oracle": formal.oracle, "adversarial": formal.adversary}.get(self.recipe.objective)
        if made is None:
            return None
        prompts = self.evaluator.prompts["ood"]
        prompts = prompts.take(prompts.asked)
        completions, finished = made(self.language, prompts, max_new_symbols=self.recipe.completion_limit)
        if not finished.any():
            raise RuleExtrapError(
                f"no OOD prompt of {self.language.name} has a completion of at most {self.recipe.completion_limit} "
                f"symbols for the objective {self.recipe.objective!r}: give a larger max_new_symbols, or another"
            )
        beginnings = prompts.words.take(finished)
        ids = token_rows(beginnings.followed_by(completions.take(finished)), self.language)
        places = np.arange(ids.shape[1])
        # BOS and the prompt are read; EOS stands one place after the last symbol.
        ends = beginnings.lengths + completions.lengths[finished] + 1
        asked = (places > beginnings.lengths[:, None]) & (places <= ends[:, None])
        return ids, np.where(asked, ids, -100)

    def likelihood(self, model: PreTrainedModel, split: str, *, padded: bool | None = None) -> Likelihood:
        """Loss and accuracy on a split; PAD counts where it is asked for, by default as in the recipe.

        A model that looks ahead reads the same padding behind a word as in training.
        """
        if padded is None:
            monitored = self.recipe.validate_on_padding if split == "validation" else None
            padded = self.recipe.loss_on_padding if monitored is None else monitored
        words: WordBatch = getattr(self.splits, split)
        logs = None if self._entropy is None else self.language.log_probability(words, self.recipe.max_length)
        rows = self.rows(split, full=padded or looks_ahead(model))
        measured = measure_likelihood(model, rows, count_padding=padded, log_probability=logs)
        if self._entropy is None or logs is None:
            return measured
        # A padded row has as many targets whatever its word.
        floor = self._entropy.nats / (self.recipe.max_length + 1) if padded else self._entropy.per_token
        return replace(measured, floor=floor)

    @cached_property
    def _entropy(self) -> Entropy | None:
        """The entropy of the words that validation and test are drawn from."""
        return self.language.entropy(self.recipe.max_length)

    def masses(self, model: PreTrainedModel) -> dict[str, float]:
        """The exact cell masses, where the recipe asks for them."""
        length = self.recipe.mass_length
        if length is None:
            return {}
        mass = exact_mass(model, self.language, max_length=length)
        return {f"mass_{name}": value for name, value in {**mass.cells, "impossible": mass.impossible}.items()}

    def evaluate(self, model: PreTrainedModel, accelerator: Accelerator | None = None, name: str = "") -> Evaluation:
        """Rule extrapolation of a model, by its name; the processes of an accelerator share the prompts."""
        return self.evaluator(self._completer(model, accelerator), name)

    def evaluate_lengths(self, model: PreTrainedModel, accelerator: Accelerator | None = None) -> list[Evaluation]:
        """The same at each prompt length that the recipe lists, on a fixed draw of at most 256 prompts of each kind."""
        completer = self._completer(model, accelerator)
        return [
            _evaluator(self.recipe, self.language, self.splits, length)(completer) for length in self.recipe.by_length
        ]

    def _completer(self, model: PreTrainedModel, accelerator: Accelerator | None) -> Completer:
        completer = LocalModel(model, self.language)
        return completer if accelerator is None else Shared(completer, accelerator)


def _evaluator(recipe: Recipe, language: Language, splits: Splits, length: int | None = None) -> Evaluator:
    return Evaluator(
        language,
        prompt_length=recipe.prompt_length if length is None else length,
        most_prompts=None if length is None else _MOST_PROMPTS,
        max_new_symbols=recipe.completion_limit,
        train_words=splits.train,
        seed=recipe.seed,
    )
