"""The contract of a completer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hf_ruleextrap.formal import PromptSet, WordBatch
from hf_ruleextrap.formal.words import BoolArray


@dataclass(frozen=True, eq=False)
class Completions:
    """What was added to each prompt.

    Attributes:
        words: N completions, without BOS and EOS.
        finished: (N,) bool, the completer ended it by itself, within the limit.
    """

    words: WordBatch
    finished: BoolArray


class Completer(Protocol):
    """Continues prompts of one language."""

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Continue each prompt.

        Args:
            prompts: N prompts.
            max_new_symbols: most symbols in a completion; one that has not ended after so many is unfinished.
            samples: None for the most likely continuation, symbol by symbol (greedy), one row a prompt; or how many to
                draw for each prompt, its rows next to each other.
            seed: of the draw.
        """
        ...
