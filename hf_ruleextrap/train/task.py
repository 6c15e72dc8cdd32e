"""The data, the prompts and the measures of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.causality import looks_ahead
from hf_ruleextrap.completers import Completer, Completions, LocalModel
from hf_ruleextrap.costs import check_cost
from hf_ruleextrap.data import Splits, build_splits, replace_by_noise
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluation, Evaluator
from hf_ruleextrap.evaluation.likelihood import Likelihood, measure_likelihood, token_rows
from hf_ruleextrap.evaluation.mass import check_size, exact_mass
from hf_ruleextrap.formal import Language, PromptSet, WordBatch
from hf_ruleextrap.formal.counting import Entropy
from hf_ruleextrap.formal.words import IntArray, concatenate
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.tokenization import build_tokenizer

from .recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MOST_PROMPTS = 256
"""The largest number of prompts of each kind where rates are measured at several prompt lengths."""


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
    # The stream and the noise have generators of their own, so that they do not depend on the sizes of other splits.
    rng = np.random.default_rng([recipe.seed, 2])
    train = splits.train
    if recipe.stream:
        n = recipe.max_steps * recipe.batch_size
        check_cost(f"a stream of {n:,} words", "give smaller max_steps", size=n * (recipe.max_length + 2) * 10)
        train = language.sample(n, max_length=recipe.max_length, rng=rng)
    elif recipe.noise:
        train = replace_by_noise(train, language, recipe.noise, rng)
    return replace(splits, train=train)


def check_lengths(recipe: Recipe, language: Language) -> None:
    """Refuse the lengths of a recipe for which the language has no words or no prompts, or too many words to sum over.

    Raises:
        RuleExtrapError: If a length is out of range.
    """
    language.check_length(recipe.max_length)
    if recipe.mass_length is not None:
        check_size(language, 1, recipe.mass_length)
    for length in (recipe.prompt_length, *recipe.by_length):
        if length is not None:
            language.prompts(length=length, limit=1)


@dataclass(frozen=True)
class Task:
    """The data, the prompts and the measures of one recipe."""

    recipe: Recipe
    language: Language
    splits: Splits
    tokenizer: PreTrainedTokenizerBase
    evaluator: Evaluator

    @classmethod
    def of(cls, recipe: Recipe) -> Task:
        """Build the data and the prompts.

        Raises:
            RuleExtrapError: If the language is unknown, a length is too small, or there are no prompts.
        """
        language = get_language(recipe.language, paper=recipe.paper)
        check_lengths(recipe, language)
        splits = splits_of(recipe, language)
        return cls(recipe, language, splits, build_tokenizer(language), _evaluator(recipe, language, splits))

    def rows(self, split: str, *, full: bool) -> IntArray:
        """Return the token ids of a split, padded to ``max_length`` with ``full``, else to its longest word."""
        width = self.recipe.max_length + 2 if full else None
        return token_rows(getattr(self.splits, split), self.language, width=width)

    def completed_prompts(self) -> tuple[IntArray, IntArray] | None:
        """Return the completed OOD prompts that the objective adds to the likelihood.

        These are all OOD prompts that leave a rule open.

        Returns:
            (N, T) token ids and (N, T) labels, which are -100 everywhere but at the completion and its EOS; None for
            the objective ``likelihood``.

        Raises:
            RuleExtrapError: If no completion ends within the limit.
        """
        complete = {"oracle": formal.oracle, "adversarial": formal.adversary}.get(self.recipe.objective)
        if complete is None:
            return None
        prompts = self.evaluator.prompts["ood"]
        prompts = prompts.take(prompts.in_headline)
        completions, finished = complete(self.language, prompts, max_new_symbols=self.recipe.completion_limit)
        if not finished.any():
            raise RuleExtrapError(
                f"no OOD prompt of {self.language.name} has a completion of at most {self.recipe.completion_limit} "
                f"symbols for the objective {self.recipe.objective!r}: use a larger max_new_symbols or `likelihood`"
            )
        beginnings = prompts.words.take(finished)
        ids = token_rows(beginnings.followed_by(completions.take(finished)), self.language)
        places = np.arange(ids.shape[1])
        # BOS and the prompt are read; EOS stands one place after the last symbol.
        ends = beginnings.lengths + completions.lengths[finished] + 1
        is_label = (places > beginnings.lengths[:, None]) & (places <= ends[:, None])
        return ids, np.where(is_label, ids, -100)

    def likelihood(self, model: PreTrainedModel, split: str, *, padded: bool | None = None) -> Likelihood:
        """Measure loss and accuracy on a split. ``padded`` counts PAD; the default is the recipe's.

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
        # Every padded row has the same number of targets.
        floor = self._entropy.nats / (self.recipe.max_length + 1) if padded else self._entropy.per_token
        return replace(measured, floor=floor)

    @cached_property
    def _entropy(self) -> Entropy | None:
        """The entropy of the distribution of the validation and test words."""
        return self.language.entropy(self.recipe.max_length)

    def masses(self, model: PreTrainedModel) -> dict[str, float]:
        """Return the exact cell masses if the recipe sets ``mass_length``, and an empty mapping otherwise."""
        length = self.recipe.mass_length
        if length is None:
            return {}
        mass = exact_mass(model, self.language, max_length=length)
        return {f"mass_{name}": value for name, value in {**mass.cells, "impossible": mass.impossible}.items()}

    def evaluate(self, model: PreTrainedModel, accelerator: Accelerator | None = None, name: str = "") -> Evaluation:
        """Measure rule extrapolation of a model; the processes of an accelerator share the prompts."""
        return self.evaluator(self._completer(model, accelerator), name)

    def evaluate_lengths(self, model: PreTrainedModel, accelerator: Accelerator | None = None) -> list[Evaluation]:
        """Evaluate a model at each prompt length of ``by_length``, on at most 256 fixed prompts of each kind."""
        completer = self._completer(model, accelerator)
        return [
            _evaluator(self.recipe, self.language, self.splits, length)(completer) for length in self.recipe.by_length
        ]

    def _completer(self, model: PreTrainedModel, accelerator: Accelerator | None) -> Completer:
        completer = LocalModel(model, self.language)
        return completer if accelerator is None else _Shared(completer, accelerator)


class _Shared:
    """A completer that divides the prompts among all processes and returns all completions to each process.

    Args:
        completer: The completer, which must be the same in every process.
        accelerator: The accelerator, which knows the processes.
    """

    def __init__(self, completer: Completer, accelerator: Accelerator) -> None:
        self.completer = completer
        self.process, self.processes = accelerator.process_index, accelerator.num_processes

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Complete the prompts; see `Completer.complete`. Greedy completions do not depend on the process count."""
        if self.processes == 1:
            return self.completer.complete(prompts, max_new_symbols=max_new_symbols, samples=samples, seed=seed)
        from accelerate.utils import gather_object

        rows = np.arange(len(prompts))
        mine = rows[self.process :: self.processes]
        parts: list[tuple[WordBatch, np.ndarray]] = []
        if len(mine):
            completions = self.completer.complete(
                prompts.take(mine), max_new_symbols=max_new_symbols, samples=samples, seed=seed + self.process
            )
            parts = [(completions.words, completions.finished)]
        gathered = gather_object(parts)
        each = samples or 1
        order = np.concatenate([rows[i :: self.processes] for i in range(self.processes)])
        places = (order[:, None] * each + np.arange(each)).ravel().argsort()
        words = concatenate([words for words, _ in gathered]).take(places)
        return Completions(words, np.concatenate([finished for _, finished in gathered])[places])


def _evaluator(recipe: Recipe, language: Language, splits: Splits, length: int | None = None) -> Evaluator:
    return Evaluator(
        language,
        prompt_length=recipe.prompt_length if length is None else length,
        most_prompts=None if length is None else _MOST_PROMPTS,
        max_new_symbols=recipe.completion_limit,
        train_words=splits.train,
        seed=recipe.seed,
    )
