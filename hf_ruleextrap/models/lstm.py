"""The LSTM of the rule-extrapolation experiments (Mészáros et al., NeurIPS 2024, arXiv 2409.13728)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import GenerationMixin

from .base import RuleConfig, RuleForCausalLM
from .recurrent import RecurrentBackbone, States

_LARGE = 1e4
"""A gate's input at which its sigmoid is exactly 0 or 1 in every precision."""


class RuleLSTMConfig(RuleConfig):
    """The configuration of the LSTM. The defaults are the paper's.

    Attributes:
        embedding_size: The width of a token's vector.
        hidden_size: The width of each layer's state.
        num_hidden_layers: The number of layers.
        dropout: The dropout rate of the last layer's outputs. The model has no other dropout.
    """

    model_type = "ruleextrap_lstm"
    size_fields: ClassVar[tuple[str, ...]] = ("embedding_size", "hidden_size", "num_hidden_layers")
    probability_fields: ClassVar[tuple[str, ...]] = ("dropout",)

    embedding_size: int = 10
    hidden_size: int = 64
    num_hidden_layers: int = 5
    dropout: float = 0.4

    def check(self) -> None:
        """Raise ValueError, with a message of one line, for a value from which no model can be built."""
        super().check()
        if self.tie_word_embeddings and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"embedding_size {self.embedding_size} differs from hidden_size {self.hidden_size}: "
                "make them equal, or leave tie_word_embeddings off"
            )


class RuleLSTMModel(RecurrentBackbone):
    """An embedding, `torch.nn.LSTM` and dropout. The cache holds (h, c) of each layer, both (B, hidden_size)."""

    config_class = RuleLSTMConfig

    def __init__(self, config: RuleLSTMConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        self.lstm = nn.LSTM(config.embedding_size, config.hidden_size, config.num_hidden_layers, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    def run(
        self, inputs: Tensor, lengths: Tensor | None, states: Sequence[States], *, stateful: bool
    ) -> tuple[Tensor, list[States]]:
        """Run the model; see `RecurrentBackbone.run`. The width is hidden_size."""
        if stateful and lengths is not None:
            layers, new = self.run_recorded(inputs, lengths, states, stateful=stateful)
            return layers[-1], new
        # Padding after a row's tokens changes no output before it, and the final state is not used.
        outputs, (h, c) = self.lstm(inputs, self._start(inputs, states))
        return self.dropout(outputs), list(zip(h, c, strict=True))

    def run_recorded(
        self, inputs: Tensor, lengths: Tensor | None, states: Sequence[States], *, stateful: bool
    ) -> tuple[list[Tensor], list[States]]:
        """Run the layers one by one, because torch returns only the last outputs; see `RecurrentBackbone`."""
        start_h, start_c = self._start(inputs, states)
        outputs: list[Tensor] = []
        new: list[States] = []
        for layer, weights in enumerate(self.lstm.all_weights):
            part = slice(layer, layer + 1)
            inputs, state = _run_layer(inputs, weights, (start_h[part], start_c[part]), lengths if stateful else None)
            outputs.append(inputs)
            new.append(state)
        return [*outputs[:-1], self.dropout(outputs[-1])], new

    def _start(self, inputs: Tensor, states: Sequence[States]) -> States:
        """Return the initial h and c, both (layers, B, hidden_size)."""
        if states:
            h, c = (torch.stack(tensors) for tensors in zip(*states, strict=True))
            return h, c
        zeros = inputs.new_zeros(self.lstm.num_layers, len(inputs), self.lstm.hidden_size)
        return zeros, zeros


def _run_layer(
    inputs: Tensor, weights: Sequence[Tensor], start: States, lengths: Tensor | None
) -> tuple[Tensor, States]:
    """Run one layer.

    Args:
        inputs: (B, T, E).
        weights: The weights and biases of the layer, as in `torch.nn.LSTM.all_weights`.
        start: H and c before the first token, both (1, B, hidden_size).
        lengths: (B,) int64, the number of tokens in each row; None for T.

    Returns:
        The outputs (B, T, hidden_size), and h and c after the last token of each row, both (B, hidden_size).
    """
    columns, size = inputs.shape[1], start[0].shape[-1]
    to_gates, *others = weights
    if lengths is not None:
        # An extra input, which is 1 at padding, closes the input gate and opens the forget gate: c does not change.
        padding = torch.arange(columns, device=inputs.device) >= lengths[:, None]
        inputs = torch.cat([inputs, padding[..., None].to(inputs.dtype)], dim=-1)
        keep = torch.cat([to_gates.new_full((size,), -_LARGE), to_gates.new_full((size,), _LARGE)])
        to_gates = torch.cat([to_gates, pad(keep, (0, 2 * size))[:, None]], dim=1)
    outputs, h, c = torch.lstm(inputs, start, [to_gates, *others], True, 1, 0.0, False, False, True)
    if lengths is None:
        return outputs, (h[0], c[0])
    last = outputs[torch.arange(len(outputs), device=outputs.device), (lengths - 1).clamp(min=0)]
    return outputs, (torch.where((lengths == 0)[:, None], start[0][0], last), c[0])


class RuleLSTMForCausalLM(RuleForCausalLM, GenerationMixin):
    """The LSTM with its output layer."""

    config_class = RuleLSTMConfig
    backbone = RuleLSTMModel
    _is_stateful = True
