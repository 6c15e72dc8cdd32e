"""Record what each batch of a stream costs before the model learns from the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_ruleextrap.tokenization import EOS_ID, SPECIAL_TOKENS

from .callbacks import Recorder


class Meter(Recorder):
    """Sum the negative log-probability of each batch. The sums are part of each checkpoint.

    A model's vocabulary also holds tokens that no word contains, such as PAD. The probabilities are taken among the
    symbols and the end of a word alone, so that a model that knows nothing pays log(k + 1) for each token.

    Args:
        symbols: The number k of symbols of the alphabet.

    Attributes:
        nats: The cost of each batch so far, summed over all processes, in nats.
    """

    def __init__(self, symbols: int = 0) -> None:
        self.symbols = symbols
        self.nats: list[float] = []
        self._batch: torch.Tensor | None = None

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a part of the batch.

        Args:
            logits: (B, T, vocabulary).
            labels: (B, T) int64, shifted; -100 marks a position without a label.
        """
        first = len(SPECIAL_TOKENS)
        scores = logits.detach().double()
        # EOS, and the symbols behind the special tokens.
        kept = torch.cat([scores[..., EOS_ID, None], scores[..., first : first + self.symbols]], dim=-1)
        targets = torch.where(labels >= first, labels - first + 1, torch.where(labels == EOS_ID, 0, -100))
        cost = nn.functional.cross_entropy(kept.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
        self._batch = cost if self._batch is None else self._batch + cost

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Close the batch."""
        assert self._batch is not None
        if args.world_size > 1:
            torch.distributed.all_reduce(self._batch)
        self.nats.append(float(self._batch))
        self._batch = None

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint holds."""
        return {"args": {"symbols": self.symbols}, "attributes": {"nats": self.nats}}
