"""A toy architecture in one file, as "Add an architecture" of CONTRIBUTING.md describes.

The file is outside the package, so its imports are absolute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from hf_ruleextrap.models.base import RuleConfig, RuleForCausalLM
from hf_ruleextrap.models.recurrent import RecurrentBackbone, States


class RuleGRUConfig(RuleConfig):
    model_type = "ruleextrap_gru"
    size_fields: ClassVar[tuple[str, ...]] = ("hidden_size",)
    hidden_size: int = 16


class RuleGRUModel(RecurrentBackbone):
    config_class = RuleGRUConfig

    def __init__(self, config: RuleGRUConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.gru = nn.GRU(config.hidden_size, config.hidden_size, batch_first=True)
        self.post_init()

    def run(
        self, inputs: Tensor, lengths: Tensor | None, states: Sequence[States], *, stateful: bool
    ) -> tuple[Tensor, list[States]]:
        assert lengths is None or not stateful, "the toy does not support padding"
        hidden, last = self.gru(inputs, states[0][0][None].contiguous() if states else None)
        return hidden, [(last[0],)]


class RuleGRUForCausalLM(RuleForCausalLM):
    config_class = RuleGRUConfig
    backbone = RuleGRUModel
    _is_stateful = True
