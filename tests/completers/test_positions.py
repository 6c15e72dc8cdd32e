"""The largest number of tokens that a model can read, and the measures that respect this limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.completers import LocalModel, most_tokens
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.discrimination import discriminate_symbols
from hf_ruleextrap.evaluation.lengths import measure_reach
from hf_ruleextrap.evaluation.mass import exact_mass, open_rules_probability
from hf_ruleextrap.languages import get_language

ANBN = get_language("anbn")
OOD = ANBN.prompts("ood", length=4, limit=3)
LIMIT = 12
_HIDDEN = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
_GPT = {"n_embd": 16, "n_layer": 1, "n_head": 4}
_DECODER = {"d_model": 8, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8}
LIMITED = {
    "gpt2": {**_GPT, "n_positions": LIMIT},
    "gpt_neo": {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "attention_types": [[["global"], 1]]},
    "opt": {**_HIDDEN, "ffn_dim": 8, "word_embed_proj_dim": 8},
    "openai-gpt": {**_GPT, "n_positions": LIMIT},
    "gptj": {**_GPT, "rotary_dim": 2, "n_positions": LIMIT},
    "codegen": {**_GPT, "rotary_dim": 2, "n_positions": LIMIT},
    "biogpt": _HIDDEN,
    "ctrl": {**_GPT, "dff": 8, "n_positions": LIMIT},
    "bert": {**_HIDDEN, "is_decoder": True},
    # RoBERTa reserves its first position for padding, because PAD has the id 0.
    "roberta": {**_HIDDEN, "is_decoder": True, "max_position_embeddings": LIMIT + 1},
    "bart": _DECODER,
    "whisper": {**_DECODER, "max_target_positions": LIMIT},
}
UNLIMITED: dict[str, dict[str, Any]] = {
    "llama": {**_HIDDEN, "num_key_value_heads": 2},
    "gpt_neox": _HIDDEN,
    "xglm": {"d_model": 8, "num_layers": 1, "attention_heads": 2, "ffn_dim": 8},
    "bloom": {"hidden_size": 8, "n_layer": 1, "n_head": 2},
    "mamba": {"hidden_size": 8, "num_hidden_layers": 1, "state_size": 2},
}
OURS = [
    ("linear", {"max_position_embeddings": LIMIT}, LIMIT),
    ("transformer", {"positions": "learned", "max_position_embeddings": LIMIT}, LIMIT),
    ("transformer", {"positions": "sinusoidal", "max_position_embeddings": LIMIT}, None),
    ("lstm", {}, None),
    ("xlstm", {}, None),
]


def of_transformers(model_type: str, fields: dict[str, Any]) -> PreTrainedModel:
    ids = {"vocab_size": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    limit = {} if "n_positions" in fields else {"max_position_embeddings": LIMIT}
    config = AutoConfig.for_model(model_type, **{**ids, **limit, **fields})
    return AutoModelForCausalLM.from_config(config).eval()


def read(model: PreTrainedModel, tokens: int) -> None:
    with torch.inference_mode():
        model(input_ids=torch.full((1, tokens), 3))


@pytest.mark.parametrize("model_type", LIMITED)
def test_the_limit_of_a_model_of_transformers_is_what_it_reads(model_type: str) -> None:
    model = of_transformers(model_type, LIMITED[model_type])
    assert most_tokens(model) == LIMIT
    read(model, LIMIT)
    with pytest.raises((IndexError, RuntimeError)):
        read(model, LIMIT + 1)


@pytest.mark.parametrize("model_type", UNLIMITED)
def test_a_model_without_a_table_of_positions_has_no_limit(model_type: str) -> None:
    model = of_transformers(model_type, UNLIMITED[model_type])
    assert most_tokens(model) is None
    read(model, 3 * LIMIT)


@pytest.mark.parametrize(("architecture", "fields", "limit"), OURS)
def test_our_configurations_state_the_limit(architecture: str, fields: dict[str, Any], limit: int | None) -> None:
    model = build_model(architecture, language=ANBN, seed=0, **fields)
    assert most_tokens(model) == model.config.most_tokens == LocalModel(model, ANBN).most_tokens == limit
    read(model, LIMIT)
    if limit is None:
        read(model, 3 * LIMIT)
    else:
        with pytest.raises(ValueError, match="max_position_embeddings"):
            read(model, LIMIT + 1)


@pytest.fixture(scope="module", params=["ours", "transformers"])
def limited(request: pytest.FixtureRequest) -> LocalModel:
    if request.param == "ours":
        return LocalModel(build_model("linear", language=ANBN, seed=0, max_position_embeddings=LIMIT), ANBN)
    return LocalModel(build_model("gpt2", language=ANBN, seed=0, **LIMITED["gpt2"]), ANBN)


MEASURES: dict[str, Callable[[LocalModel, int], object]] = {
    "completion": lambda model, symbols: model.complete(OOD, max_new_symbols=symbols - 4),
    "mass": lambda model, symbols: exact_mass(model.model, ANBN, max_length=symbols),
    "open rules": lambda model, symbols: open_rules_probability(model.model, ANBN, OOD, max_new_symbols=symbols - 4),
    # The nearest word that breaks a rule may be one symbol longer.
    "discrimination": lambda model, symbols: discriminate_symbols(model, "m", max_length=symbols - 1, limit=4),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_each_measure_reads_up_to_the_limit_and_no_further(
    limited: LocalModel, measure: Callable[[LocalModel, int], object]
) -> None:
    measure(limited, LIMIT - 1)
    with pytest.raises(RuleExtrapError, match=f"take {LIMIT + 1} tokens, and the model has {LIMIT} positions"):
        measure(limited, LIMIT)


def test_reach_asks_at_the_lengths_that_a_model_can_read(limited: LocalModel) -> None:
    reach = measure_reach(limited, ANBN, train_length=4, lengths=[4, 10, 11, 40], n=2)
    of_ood = {at.length: at for at in reach.rates if at.kind == "ood"}
    assert [of_ood[length].max_new_symbols for length in (4, 10)] == [7, 1]
    assert [of_ood[length].rate is None for length in (4, 10, 11, 40)] == [False, False, True, True]
    assert "12 positions, too few" in of_ood[11].status
