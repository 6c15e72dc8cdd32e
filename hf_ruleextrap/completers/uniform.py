"""Chance, as a completer."""

from __future__ import annotations

import numpy as np

from hf_ruleextrap.formal import Language, PromptSet, draw_uniform

from .base import Completions


class Uniform:
    """Draws each symbol, and the end, with equal probability, whatever the prompt."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """See `Completer.complete`; it has no most likely continuation, so None draws one."""
        rng = np.random.default_rng(seed)
        n = len(prompts) * (samples or 1)
        return Completions(*draw_uniform(self.language.alphabet, n, max_new_symbols, rng))
