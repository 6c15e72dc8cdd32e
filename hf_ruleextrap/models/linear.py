"""The linear model of the rule-extrapolation experiments: the next token from all inputs, by their positions.

Source: Mészáros et al., NeurIPS 2024, arXiv 2409.13728, and their code. There each output sees the inputs from its own
position on, and a completion reads the last position whatever the prompt: ``causal=False`` with ``read="last"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from .base import RuleConfig, RuleForCausalLM
from .recurrent import RecurrentBackbone, States


class RuleLinearConfig(RuleConfig):
    """Sizes and choices of the linear model; the defaults are the paper's sizes.

    Attributes:
        embedding_size: width of a token's vector.
        max_position_embeddings: number of positions; a longer sequence is refused.
        causal: an output sees the inputs up to its own position; else from it on, as in the authors' code.
        read: with a cache, which is how completions are made, each output is that of its own position ("current")
            or of the last one there is ("last", as in the authors' code).
    """

    model_type = "ruleextrap_linear"
    size_fields: ClassVar[tuple[str, ...]] = ("embedding_size", "max_position_embeddings")

    embedding_size: int = 10
    max_position_embeddings: int = 257
    causal: bool = True
    read: str = "current"

    def check(self) -> None:
        """Raise ValueError, in one line, for a value from which no model can be built."""
        super().check()
        self.check_choice("read", ("current", "last"))
        if self.tie_word_embeddings:
            raise ValueError("tie_word_embeddings is on, and the linear model has no output layer: leave it off")


class PositionalLinear(nn.Module):
    """One matrix from each input position to each output position, and a bias at each."""

    def __init__(self, config: RuleLinearConfig) -> None:
        super().__init__()
        positions, width = config.max_position_embeddings, config.embedding_size
        self.causal = config.causal
        self.weight = nn.Parameter(torch.empty(positions, width, positions, config.vocab_size))
        self.bias = nn.Parameter(torch.empty(positions, config.vocab_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier's uniform weights, and no bias."""
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, inputs: Tensor, first: int, last: int) -> Tensor:
        """(B, last - first, vocab_size), the outputs at these positions, of (B, S, embedding_size) inputs from 0 on."""
        known = inputs.shape[1]
        weight = self.weight[:known, :, first:last]
        ins = torch.arange(known, device=inputs.device)[:, None]
        outs = torch.arange(first, last, device=inputs.device)
        seen = ins <= outs if self.causal else ins >= outs
        weight = weight * seen[:, None, :, None]
        flat = inputs.flatten(1) @ weight.flatten(2).flatten(0, 1)
        return flat.view(len(inputs), last - first, -1) + self.bias[first:last]


class RuleLinearModel(RecurrentBackbone):
    """Embedding and a linear map over positions. The cache holds each row's embedded tokens and their number."""

    config_class = RuleLinearConfig

    def __init__(self, config: RuleLinearConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        self.linear = PositionalLinear(config)
        self.post_init()

    def run(
        self, inputs: Tensor, lengths: Tensor | None, states: Sequence[States], *, stateful: bool
    ) -> tuple[Tensor, list[States]]:
        """See `RecurrentBackbone.run`; the outputs (B, T, vocab_size) are the logits themselves.

        A token's position is the number of tokens before it in its row.

        Raises:
            ValueError: a row has more tokens than there are positions.
        """
        batch, columns, width = inputs.shape
        if states:
            before, counts = states[0]
        else:
            before, counts = inputs.new_zeros(batch, 0, width), torch.zeros(batch, dtype=torch.long)
        counts = counts.to(inputs.device)
        added = torch.full_like(counts, columns) if lengths is None else lengths
        place = counts[:, None] + torch.arange(columns, device=inputs.device)
        total = max(int((counts + added).max()), int(place.max()) + 1 if lengths is None else 0)
        limit = self.config.max_position_embeddings
        if total > limit:
            raise ValueError(
                f"a sequence of {total} tokens is longer than the {limit} positions of the linear model: "
                "shorten it, or build the model with a larger max_position_embeddings"
            )
        # What stands behind a row's tokens is 0, the input of an empty position.
        is_real = torch.arange(columns, device=inputs.device) < added[:, None]
        everything = inputs.new_zeros(batch, max(total, before.shape[1]) + 1, width)
        everything = everything.index_put((_rows(before), _columns(before)), before)
        # Pads go to the last column, which is then cut off.
        target = torch.where(is_real, place, everything.shape[1] - 1)
        everything = everything.index_put((_rows(inputs), target), inputs)[:, :-1]
        if stateful and self.config.read == "last":
            logits = self.linear(everything, limit - 1, limit).expand(-1, columns, -1)
        elif bool((counts == counts[0]).all()):
            first = int(counts[0])
            logits = self.linear(everything, first, min(first + columns, limit))
            if logits.shape[1] < columns:
                logits = torch.nn.functional.pad(logits, (0, 0, 0, columns - logits.shape[1]))
        else:
            logits = self.linear(everything, 0, everything.shape[1])
            index = place.clamp(max=everything.shape[1] - 1)
            logits = logits[torch.arange(batch, device=index.device)[:, None], index]
        return logits, [(everything, counts + added)]


def _rows(tensor: Tensor) -> Tensor:
    return torch.arange(tensor.shape[0], device=tensor.device)[:, None]


def _columns(tensor: Tensor) -> Tensor:
    return torch.arange(tensor.shape[1], device=tensor.device)


class RuleLinearForCausalLM(RuleForCausalLM):
    """The linear model; it is its own output layer."""

    config_class = RuleLinearConfig
    backbone = RuleLinearModel
    _is_stateful = True
    _tied_weights_keys = {}  # noqa: RUF012  # transformers reads a dict

    def build_head(self, config: RuleConfig) -> nn.Module:  # noqa: ARG002  # there is nothing to build
        """The logits are already there."""
        return nn.Identity()
