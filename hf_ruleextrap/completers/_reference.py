"""The references of a model as completers: a source (uniform, always-stop, n-gram), and the oracle."""

from __future__ import annotations

import numpy as np

from hf_ruleextrap.formal import Language, PromptSet, Source, oracle

from .base import Completions


class FromSource:
    """A completer for a source. Greedy completions take the source's most likely symbols; samples are drawn from it."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Complete the prompts; see `Completer.complete`."""
        rows = np.arange(len(prompts)).repeat(samples or 1)
        rng = None if samples is None else np.random.default_rng(seed)
        words, finished = self.source.complete(prompts.words.take(rows), max_new_symbols=max_new_symbols, rng=rng)
        return Completions(words, finished)


class Oracle:
    """A completer that adds the fewest symbols after which every rule that can still hold does hold."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Complete the prompts; see `Completer.complete`. All samples of a prompt are equal."""
        del seed
        rows = np.arange(len(prompts)).repeat(samples or 1)
        words, finished = oracle(self.language, prompts, max_new_symbols=max_new_symbols)
        return Completions(words.take(rows), finished[rows])
