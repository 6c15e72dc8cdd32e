"""The LSTM of the rule-extrapolation experiments (Mészáros et al., NeurIPS 2024, arXiv 2409.13728)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import GenerationMixin

from .base import RuleConfig, RuleForCausalLM
from .recurrent import RecurrentBackbone, States


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
        outputs, (h, c) = _run(self.lstm, inputs, lengths if stateful else None, self._start(inputs, states))
        return self.dropout(outputs), list(zip(h, c, strict=True))

    def run_recorded(
        self, inputs: Tensor, lengths: Tensor | None, states: Sequence[States], *, stateful: bool
    ) -> tuple[list[Tensor], list[States]]:
        """Run the layers one by one, because torch returns only the last outputs; see `RecurrentBackbone`."""
        weights = dict(self.lstm.named_parameters())
        h, c = self._start(inputs, states)
        outputs: list[Tensor] = []
        new: list[States] = []
        for layer in range(self.lstm.num_layers):
            single = nn.LSTM(inputs.shape[-1], self.lstm.hidden_size, batch_first=True, device="meta")
            for name, _ in list(single.named_parameters()):
                setattr(single, name, weights[name.replace("_l0", f"_l{layer}")])
            part = slice(layer, layer + 1)
            inputs, (h_new, c_new) = _run(single, inputs, lengths if stateful else None, (h[part], c[part]))
            outputs.append(inputs)
            new.append((h_new[0], c_new[0]))
        return [*outputs[:-1], self.dropout(outputs[-1])], new

    def _start(self, inputs: Tensor, states: Sequence[States]) -> States:
        """Return the initial h and c, both (layers, B, hidden_size)."""
        if states:
            h, c = (torch.stack(tensors) for tensors in zip(*states, strict=True))
            return h, c
        zeros = inputs.new_zeros(self.lstm.num_layers, len(inputs), self.lstm.hidden_size)
        return zeros, zeros


def _run(lstm: nn.LSTM, inputs: Tensor, lengths: Tensor | None, start: States) -> tuple[Tensor, States]:
    """Return an LSTM's outputs (B, T, hidden_size), and (layers, B, hidden_size) h and c after each row's last token.

    Without lengths, the padding after a row's tokens changes its state. Packing doubles the time of a training step.
    """
    if lengths is None:
        whole: tuple[Tensor, States] = lstm(inputs, start)
        return whole
    # torch cannot pack an empty row, so an empty row reads one pad, and its old state is restored below.
    packed = pack_padded_sequence(inputs, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
    packed_outputs, (h, c) = lstm(packed, start)
    outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True, total_length=inputs.shape[1])
    empty = (lengths == 0)[:, None]
    return outputs, (torch.where(empty, start[0], h), torch.where(empty, start[1], c))


class RuleLSTMForCausalLM(RuleForCausalLM, GenerationMixin):
    """The LSTM with its output layer."""

    config_class = RuleLSTMConfig
    backbone = RuleLSTMModel
    _is_stateful = True
