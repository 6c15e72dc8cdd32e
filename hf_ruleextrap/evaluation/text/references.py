"""What needs no model, on the same prompts and the same context."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.completers import Completer, Completions, FromSource, Oracle
from hf_ruleextrap.evaluation.protocol import ProtocolSettings, context_words
from hf_ruleextrap.formal import PromptSet, Source, WordBatch
from hf_ruleextrap.formal.words import concatenate

CHANCE = "chance"
"""Uniformly random symbols and an end; computed, not drawn, where it can be."""

CEILING = "ceiling"
"""The highest value that each rate can have by itself."""

NGRAMS = (2, 3, 4)


class FromContext:
    """An n-gram model fitted on the very lines that a prompt is shown; for each prompt another one."""

    def __init__(self, settings: ProtocolSettings, n: int) -> None:
        self.settings, self.n = settings, n

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """See `Completer.complete`."""
        made = [
            FromSource(_source(self.settings, text, self.n)).complete(
                prompts.take(np.array([row])), max_new_symbols=max_new_symbols, samples=samples, seed=seed + row
            )
            for row, text in enumerate(prompts.texts)
        ]
        return Completions(concatenate([one.words for one in made]), np.concatenate([one.finished for one in made]))


# It draws from the same one that it continues greedily.
@lru_cache(1 << 12)
def _source(settings: ProtocolSettings, prompt: str, n: int) -> Source:
    words = WordBatch.from_strings(context_words(settings, prompt))
    return formal.ngram(settings.the_language, words, n)


def text_references(settings: ProtocolSettings) -> dict[str, Completer]:
    """The reference completers by name: ``always-stop``, the n-grams (where there is a context), and ``oracle``."""
    language = settings.the_language
    completers: dict[str, Completer] = {"always-stop": FromSource(formal.always_stop(language))}
    if settings.shots:
        completers |= {f"{n}-gram": FromContext(settings, n) for n in NGRAMS}
    return completers | {"oracle": Oracle(language)}
