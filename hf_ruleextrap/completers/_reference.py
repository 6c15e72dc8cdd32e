"""What a model is compared with, as completers: a source (uniform, always-stop, n-gram), and the oracle."""

from __future__ import annotations

import numpy as np

from hf_ruleextrap.formal import Language, PromptSet, Source, oracle

from .base import Completions


class FromSource:
    """Continues with a source; greedily with its most likely symbols, else drawn."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """See `Completer.complete`."""
        rows = np.arange(len(prompts)).repeat(samples or 1)
        rng = None if samples is None else np.random.default_rng(seed)
        made = self.source.complete(prompts.words.take(rows), max_new_symbols=max_new_symbols, rng=rng)
        return Completions(*made)


class Oracle:
    """Adds the fewest symbols after which all holds that still can."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """See `Completer.complete`; its samples are all the same."""
        del seed
        rows = np.arange(len(prompts)).repeat(samples or 1)
        words, finished = oracle(self.language, prompts, max_new_symbols=max_new_symbols)
        return Completions(words.take(rows), finished[rows])
