"""The linear model of the rule-extrapolation experiments: a linear map from the inputs and their positions.

Source: Mészáros et al., NeurIPS 2024, arXiv 2409.13728, and their code. In their code, each output sees the inputs from
its own position on, and a completion always reads the last position: ``causal=False`` with ``read="last"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import GenerationMixin

from .base import RuleConfig, RuleForCausalLM
from .recurrent import RecurrentBackbone, States


class RuleLinearConfig(RuleConfig):
    """The configuration of the linear model. The defaults are the paper's sizes.

    Attributes:
        embedding_size: The width of a token's vector.
        max_position_embeddings: The number of positions. A longer sequence is refused.
        causal: Whether an output sees the inputs up to its own position. If False, an output sees the inputs from its
            own position on, as in the authors' code.
        read: The position that an output reads if a cache is used, as in completions: its own position ("current"), or
            the model's last position ("last", as in the authors' code).
    """

    model_type = "ruleextrap_linear"
    size_fields: ClassVar[tuple[str, ...]] = ("embedding_size", "max_position_embeddings")

    embedding_size: int = 10
    max_position_embeddings: int = 257
    causal: bool = True
    read: str = "current"

    @property
    def looks_ahead(self) -> bool:
        """Whether each output sees the inputs from its own position on, as in the authors' code."""
        return not self.causal

    @property
    def most_tokens(self) -> int | None:
        """The number of positions."""
        return self.max_position_embeddings

    def check(self) -> None:
        """Raise ValueError, with a message of one line, for a value from which no model can be built."""
        super().check()
        self.check_choice("read", ("current", "last"))
        if self.tie_word_embeddings:
            raise ValueError("tie_word_embeddings is True, but the linear model has no output layer: use False")


class PositionalLinear(nn.Module):
    """A matrix from each input position to each output position, and a bias for each output position."""

    def __init__(self, config: RuleLinearConfig) -> None:
        super().__init__()
        positions, width = config.max_position_embeddings, config.embedding_size
        self.causal = config.causal
        self.weight = nn.Parameter(torch.empty(positions, width, positions, config.vocab_size))
        self.bias = nn.Parameter(torch.empty(positions, config.vocab_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize the weights by Xavier's uniform distribution, and the bias by zeros."""
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def reach(self, first: int, known: int) -> tuple[int, int]:
        """Return the half-open range of outputs that see the inputs at positions first … first + known - 1."""
        return (first, len(self.bias)) if self.causal else (0, first + known)

    def matrix(self, first: int, known: int, start: int, stop: int) -> Tensor:
        """Return the matrix from inputs at first … first + known - 1 to outputs at start … stop - 1 in their reach.

        Returns:
            (known * embedding_size, (stop - start) * vocab_size).
        """
        weight = self.weight[first : first + known, :, start:stop]
        if known > 1:
            ins = torch.arange(first, first + known, device=weight.device)[:, None]
            outs = torch.arange(start, stop, device=weight.device)
            seen = ins <= outs if self.causal else ins >= outs
            weight = weight * seen[:, None, :, None]
        return weight.reshape(known * weight.shape[1], (stop - start) * weight.shape[3])

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (B, T, embedding_size) at positions from 0 on to the outputs (B, T, vocab_size) there."""
        columns = inputs.shape[1]
        flat = inputs.flatten(1) @ self.matrix(0, columns, 0, columns)
        return flat.view(len(inputs), columns, -1) + self.bias[:columns]

    def add(self, sums: Tensor, inputs: Tensor, first: int) -> None:
        """Add in place the contributions of inputs (B, T, E) from position ``first`` on to sums (B, P, vocab_size)."""
        known, width = min(inputs.shape[1], len(self.bias) - first), sums.shape[2]
        start, stop = self.reach(first, known)
        flat, matrix = inputs[:, :known].flatten(1), self.matrix(first, known, start, stop)
        reached = sums.flatten(1)[:, start * width : stop * width]
        if flat.dtype == sums.dtype:
            reached.addmm_(flat, matrix)
        else:
            reached.add_(flat @ matrix)


class RuleLinearModel(RecurrentBackbone):
    """An embedding and a linear map over positions.

    The cache holds, for each row, the sum of the tokens' contributions at each position, (B, max_position_embeddings,
    vocab_size), and the number of tokens (B,). A new token therefore costs one product with the matrices of its
    position. The sums change in place unless a gradient is required.
    """

    config_class = RuleLinearConfig

    def __init__(self, config: RuleLinearConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        self.linear = PositionalLinear(config)
        self.reads_last = config.read == "last"
        self.post_init()

    def run(
        self, inputs: Tensor, lengths: Tensor | None, states: Sequence[States], *, stateful: bool
    ) -> tuple[Tensor, list[States]]:
        """Run the model; see `RecurrentBackbone.run`. The outputs (B, T, vocab_size) are the logits.

        The position of a token is the number of tokens before it in its row.

        Raises:
            ValueError: If a row has more tokens than the model has positions.
        """
        columns, limit = inputs.shape[1], len(self.linear.bias)
        counts = states[0][1] if states else torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        least, most = counts.aminmax()
        first, last = int(least), int(most)
        after = counts + (columns if lengths is None else lengths)
        if (total := last + columns if lengths is None else int(after.max())) > limit:
            raise ValueError(
                f"a sequence of {total} tokens is longer than the {limit} positions of the linear model: "
                "shorten it, or build the model with a larger max_position_embeddings"
            )
        if lengths is not None:
            # The columns after a row's tokens become 0, the input of an empty position.
            real = torch.arange(columns, device=inputs.device) < lengths[:, None]
            inputs = (inputs * real[..., None])[:, : max(1, int(lengths.max()))]
        if not stateful:
            return _widened(self.linear(inputs), columns), []
        sums = self._sums(inputs, states)
        if first == last:
            self.linear.add(sums, inputs, first)
        else:
            for place in counts.unique().tolist():
                rows = counts == place
                part = sums[rows]
                self.linear.add(part, inputs[rows], place)
                sums[rows] = part
        return self._read(sums, first if first == last else counts, columns).to(inputs.dtype), [(sums, after)]

    def _sums(self, inputs: Tensor, states: Sequence[States]) -> Tensor:
        """Return the sums so far for updates in place. Frequent updates require at least single precision."""
        if not states:
            kind = torch.promote_types(inputs.dtype, torch.float32)
            return self.linear.bias.to(kind).expand(len(inputs), -1, -1).clone()
        sums = states[0][0]
        # Tensors of inference mode cannot change outside that mode, and gradients require unchanged tensors.
        usable = not torch.is_grad_enabled() and sums.is_inference() == torch.is_inference_mode_enabled()
        return sums if usable else sums.clone()

    def _read(self, sums: Tensor, first: int | Tensor, columns: int) -> Tensor:
        """Return a copy of the outputs of ``columns`` columns from position ``first`` on, (B,) if the rows differ."""
        if self.reads_last:
            return sums[:, -1:].expand(-1, columns, -1).clone()
        if isinstance(first, int):
            return _widened(sums[:, first : first + columns].clone(), columns)
        places = first[:, None] + torch.arange(columns, device=first.device)
        rows = torch.arange(len(first), device=first.device)[:, None]
        return sums[rows, places.clamp(max=sums.shape[1] - 1)]


def _widened(logits: Tensor, columns: int) -> Tensor:
    """Return the logits, filled with zeros up to ``columns`` columns."""
    missing = columns - logits.shape[1]
    return pad(logits, (0, 0, 0, missing)) if missing else logits


class RuleLinearForCausalLM(RuleForCausalLM, GenerationMixin):
    """The linear model, which has no separate output layer."""

    config_class = RuleLinearConfig
    backbone = RuleLinearModel
    _is_stateful = True
    _tied_weights_keys = {}  # noqa: RUF012  # transformers reads a dict

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *_: Any, **__: Any) -> nn.Embedding:
        """Return the embeddings if the number of tokens stays the same, since each position has one output per token.

        Raises:
            ValueError: If the number of tokens changes.
        """
        if new_num_tokens not in (None, self.config.vocab_size):
            raise ValueError(
                f"the linear model cannot be resized from {self.config.vocab_size} to {new_num_tokens} tokens: "
                "build a new one with that vocab_size"
            )
        embeddings: nn.Embedding = self.model.embed_tokens
        return embeddings

    def build_head(self, config: RuleConfig) -> nn.Module:  # noqa: ARG002  # an identity needs no sizes
        """Return an identity, because the backbone returns the logits."""
        return nn.Identity()
