"""Generation: no setting of a checkpoint changes greedy answers, and no measure exceeds a model's positions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import text_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.completers import Answer, BackendConfig, LocalModel, most_tokens, text_completer
from hf_ruleextrap.completers.generation import generate
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.discrimination import discriminate_symbols
from hf_ruleextrap.evaluation.lengths import measure_reach
from hf_ruleextrap.evaluation.mass import exact_mass, open_rules_probability
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.text import requests_of
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.tokenization import build_tokenizer

SETTINGS = ProtocolSettings("anbn", shots=4, limit=3, max_new_symbols=6)
ANBN = get_language("anbn")
# The ids of the first symbol of each model below.
TEXT_A, SYMBOL_A = text_tokenizer().convert_tokens_to_ids(" a"), 3


def settings_of(token: int) -> dict[str, list[Any]]:
    """Return values for each field of `GenerationConfig` that would change answers if the field had an effect."""
    return {
        "assistant_confidence_threshold": [0.9],
        "assistant_early_exit": [1],
        "assistant_ensemble_weight": [0.5],
        "assistant_lookbehind": [3],
        "bad_words_ids": [[[token]]],
        "begin_suppress_tokens": [[token]],
        "bos_token_id": [token],
        "cache_config": [{"backend": "quanto"}],
        "cache_implementation": ["static", "offloaded", "quantized"],
        "compile_config": [{"mode": "default"}],
        "constraints": [[[token]]],
        "continuous_batching_config": [{"max_batch_tokens": 8}],
        "decoder_start_token_id": [token],
        "disable_compile": [True],
        "diversity_penalty": [0.5],
        "do_sample": [True],
        "dola_layers": ["low", [0]],
        "early_stopping": [True, "never"],
        "encoder_no_repeat_ngram_size": [1],
        "encoder_repetition_penalty": [9.0],
        "eos_token_id": [token, [1, token]],
        "epsilon_cutoff": [0.9],
        "eta_cutoff": [0.9],
        "exponential_decay_length_penalty": [[1, 9.0]],
        "force_words_ids": [[[token]]],
        "forced_bos_token_id": [token],
        "forced_eos_token_id": [token],
        "guidance_scale": [3.0],
        "is_assistant": [True],
        "length_penalty": [9.0],
        "low_memory": [True],
        "max_cache_len": [2],
        "max_length": [2],
        "max_matching_ngram_size": [2],
        "max_new_tokens": [1, 999],
        "max_time": [1e-6],
        "min_length": [999],
        "min_new_tokens": [9],
        "min_p": [0.9],
        "no_repeat_ngram_size": [1],
        "num_assistant_tokens": [3],
        "num_assistant_tokens_schedule": ["heuristic"],
        "num_beam_groups": [2],
        "num_beams": [4],
        "num_return_sequences": [2],
        "output_attentions": [True],
        "output_hidden_states": [True],
        "output_logits": [True],
        "output_scores": [True],
        "pad_token_id": [token, -1],
        "penalty_alpha": [0.6],
        "prefill_chunk_size": [2],
        "prompt_lookup_num_tokens": [3],
        "remove_invalid_values": [True],
        "renormalize_logits": [True],
        "repetition_penalty": [9.0, 0.1],
        "return_dict_in_generate": [True],
        "sequence_bias": [[[[token], -50.0]]],
        "speculation_type": ["ngram"],
        "stop_strings": [["a"], "b"],
        "suppress_tokens": [[token]],
        "target_lookbehind": [3],
        "temperature": [0.01],
        "token_healing": [True],
        "top_h": [0.5],
        "top_k": [1],
        "top_p": [0.01],
        "typical_p": [0.01],
        "use_cache": [False],
        "use_mtp": [True],
        "watermarking_config": [{"greenlist_ratio": 0.25, "bias": 9.0}],
    }


def test_every_field_of_the_generation_config_is_tested() -> None:
    fields = {name for name in vars(GenerationConfig()) if not name.startswith("_")} - {"transformers_version"}
    # Values for fields of other versions of transformers are harmless, but each field of this version needs a value.
    assert fields <= set(settings_of(0))


def with_settings(source: Path, target: Path, **settings: Any) -> Path:
    """Return a copy of a checkpoint with changed settings in its generation config."""
    shutil.copytree(source, target)
    path = target / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return target


@pytest.fixture(scope="module")
def symbol_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("symbols") / "model"
    build_model("lstm", language="anbn", seed=5).save_pretrained(folder)
    build_tokenizer(ANBN).save_pretrained(folder)
    return folder


@cache
def text_answers(folder: Path) -> dict[int, Answer]:
    prompts = SETTINGS.prompts()
    requests = requests_of(SETTINGS, prompts) + requests_of(SETTINGS, prompts, samples=1)
    return dict(text_completer("hf", BackendConfig(str(folder))).answers(requests))


@cache
def symbol_answers(folder: Path) -> list[tuple[list[str], list[bool]]]:
    model = LocalModel.from_pretrained(folder, ANBN)
    prompts = ANBN.prompts(length=3)
    decoded = [model.complete(prompts, max_new_symbols=6, samples=samples, seed=2) for samples in (None, 2)]
    return [(list(each.words), each.finished.tolist()) for each in decoded]


@pytest.mark.parametrize("name", settings_of(0))
def test_generation_settings_of_a_checkpoint_do_not_change_its_completions(
    name: str, text_model: Path, symbol_model: Path, tmp_path: Path
) -> None:
    for answers, source, token in ((text_answers, text_model, TEXT_A), (symbol_answers, symbol_model, SYMBOL_A)):
        plain = answers(source)
        for number, value in enumerate(settings_of(token)[name]):
            folder = with_settings(source, tmp_path / f"{source.parent.name}-{number}", **{name: value})
            with suppress(RuleExtrapError):
                assert answers(folder) == plain, value


def test_an_end_token_that_is_ordinary_text_is_refused(text_model: Path, tmp_path: Path) -> None:
    with pytest.raises(RuleExtrapError, match="end an answer at ' a', which is text"):
        text_answers(with_settings(text_model, tmp_path / "text", eos_token_id=[1, TEXT_A]))
    for wrong in ("end", [1, None], -1):
        with pytest.raises(RuleExtrapError):
            text_answers(with_settings(text_model, tmp_path / repr(wrong), eos_token_id=wrong))
    special = with_settings(text_model, tmp_path / "special", eos_token_id=[0, 1])
    assert text_answers(special) == text_answers(text_model)


def test_generation_settings_in_the_model_config_do_not_change_completions(symbol_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(symbol_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"min_length": 99, "repetition_penalty": 9.0}))
    (folder / "generation_config.json").unlink()
    assert symbol_answers(folder) == symbol_answers(symbol_model)


def test_a_generate_function_of_the_checkpoint_is_not_called(symbol_model: Path) -> None:
    model = LocalModel.from_pretrained(symbol_model, ANBN)
    prompts = ANBN.prompts(length=3)
    plain = list(model.complete(prompts, max_new_symbols=6).words)
    # This is how transformers puts a checkpoint's custom_generate in place.
    model.model.generate = lambda *_, **__: pytest.fail("the function of the checkpoint was called")  # type: ignore[assignment,method-assign]
    assert list(model.complete(prompts, max_new_symbols=6).words) == plain


def test_a_class_with_its_own_generate_method_is_refused(symbol_model: Path) -> None:
    model = LocalModel.from_pretrained(symbol_model, ANBN).model

    class Other(type(model)):  # type: ignore[misc]  # a class that is known at run time
        def generate(self, *_: object, **__: object) -> torch.Tensor:
            return torch.zeros(1, 1)

    model.__class__ = Other
    with pytest.raises(RuleExtrapError, match=r"Other has its own generate\(\)"):
        generate(model, torch.tensor([[1, 3]]), max_new_tokens=2, eos_ids=[2], pad_id=0)


def test_generation_restores_the_generation_config_of_the_model(symbol_model: Path) -> None:
    model: PreTrainedModel = LocalModel.from_pretrained(symbol_model, ANBN).model
    before = model.generation_config
    generate(model, torch.tensor([[1, 3]]), max_new_tokens=2, eos_ids=[2], pad_id=0)
    assert model.generation_config is before


def test_the_checkpoint_of_a_run_states_greedy_generation(tiny_run: Path, tmp_path: Path) -> None:
    from hf_ruleextrap.hub.checkpoint import write_checkpoint

    written = json.loads((tiny_run / "generation_config.json").read_text())
    assert written["do_sample"] is False
    # A run of an older version does not contain the setting.
    older = tmp_path / "older"
    shutil.copytree(tiny_run, older)
    del written["do_sample"]
    (older / "generation_config.json").write_text(json.dumps(written))
    write_checkpoint(older, tmp_path / "published")
    published = json.loads((tmp_path / "published" / "generation_config.json").read_text())
    assert published["do_sample"] is False
    assert published["max_new_tokens"] == written["max_new_tokens"]


# The largest number of tokens that a model reads.

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
def test_a_transformers_model_reads_exactly_up_to_its_position_limit(model_type: str) -> None:
    model = of_transformers(model_type, LIMITED[model_type])
    assert most_tokens(model) == LIMIT
    read(model, LIMIT)
    with pytest.raises((IndexError, RuntimeError)):
        read(model, LIMIT + 1)


@pytest.mark.parametrize("model_type", UNLIMITED)
def test_a_model_without_a_table_of_positions_has_no_position_limit(model_type: str) -> None:
    model = of_transformers(model_type, UNLIMITED[model_type])
    assert most_tokens(model) is None
    read(model, 3 * LIMIT)


@pytest.mark.parametrize(("architecture", "fields", "limit"), OURS)
def test_our_configurations_state_the_position_limit(
    architecture: str, fields: dict[str, Any], limit: int | None
) -> None:
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
def test_each_measure_uses_all_positions_and_refuses_more(
    limited: LocalModel, measure: Callable[[LocalModel, int], object]
) -> None:
    measure(limited, LIMIT - 1)
    with pytest.raises(RuleExtrapError, match=f"take {LIMIT + 1} tokens, and the model has {LIMIT} positions"):
        measure(limited, LIMIT)


def test_reach_is_measured_at_the_lengths_that_the_positions_allow(limited: LocalModel) -> None:
    reach = measure_reach(limited, ANBN, train_length=4, lengths=[4, 10, 11, 40], n=2)
    of_ood = {at.length: at for at in reach.rates if at.kind == "ood"}
    assert [of_ood[length].max_new_symbols for length in (4, 10)] == [7, 1]
    assert [of_ood[length].rate is None for length in (4, 10, 11, 40)] == [False, False, True, True]
    assert "12 positions, too few" in of_ood[11].status
