"""A toy that follows "Add an architecture" of CONTRIBUTING.md, in one file (outside the package, so without dots)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.generic import can_return_tuple

from hf_ruleextrap.models.base import RuleConfig, RuleForCausalLM, RulePreTrainedModel
from hf_ruleextrap.models.recurrent import RecurrentCache


class RuleGRUConfig(RuleConfig):
    model_type = "ruleextrap_gru"
    size_fields: ClassVar[tuple[str, ...]] = ("hidden_size",)
    hidden_size: int = 16


class RuleGRUModel(RulePreTrainedModel):
    config_class = RuleGRUConfig
    _is_stateful = True

    def __init__(self, config: RuleGRUConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.gru = nn.GRU(config.hidden_size, config.hidden_size, batch_first=True)
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_ids: Tensor, past_key_values: RecurrentCache | None = None, **_: Any
    ) -> BaseModelOutputWithPast:
        cache = RecurrentCache.of(past_key_values)
        start = cache.states[0][0][None].contiguous() if cache.states else None
        hidden, last = self.gru(self.embed_tokens(input_ids), start)
        cache.update_states([(last[0],)], input_ids.shape[1])
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=cache)


class RuleGRUForCausalLM(RuleForCausalLM):
    config_class = RuleGRUConfig
    backbone = RuleGRUModel
    _is_stateful = True
