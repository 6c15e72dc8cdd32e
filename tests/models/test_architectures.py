"""The models that are built by the name of an architecture, and the messages for wrong arguments."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from hf_ruleextrap.architectures import (
    architecture_config,
    build_model,
    count_parameters,
    fit_parameters,
    get_preset,
    list_architectures,
)
from hf_ruleextrap.causality import depends_on_other_rows, looks_ahead
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.languages import get_language

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_every_preset_has_two_sizes_and_a_summary_of_one_sentence():
    assert {"lstm", "transformer"} <= set(list_architectures())
    assert list_architectures() == sorted(list_architectures())
    for name in list_architectures():
        preset = get_preset(name)
        assert {"paper", "mini"} <= set(preset.sizes)
        assert preset.summary.endswith(".")
        assert preset.summary.count(".") == 1


@pytest.mark.parametrize("name", list_architectures())
def test_a_preset_states_the_parameters_of_each_size_for_two_symbols(name):
    preset = get_preset(name)
    assert preset.parameters == {
        size: count_parameters(architecture_config(name, size=size, vocab_size=5)) for size in preset.sizes
    }


def test_listing_does_not_import_torch():
    code = (
        "import sys; from hf_ruleextrap.architectures import list_architectures; from hf_ruleextrap.cli import main; "
        "assert list_architectures() and main(['architectures']) == 0; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("name", [*list_architectures(), "gpt2", "llama"])
def test_the_special_ids_are_those_of_the_tokenizer(name):
    overrides = {} if name in list_architectures() else TINY
    config = architecture_config(name, vocab_size=7, overrides=overrides)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)
    assert config.vocab_size == 7


def test_sizes_and_overrides_reach_the_configuration():
    paper = architecture_config("lstm", size="paper", vocab_size=5)
    assert (paper.embedding_size, paper.num_hidden_layers, paper.dropout) == (10, 5, 0.4)
    config = architecture_config("transformer", vocab_size=5, overrides={"positions": "alibi", "dropout": 0})
    assert (config.positions, config.dropout) == ("alibi", 0)
    assert config.hidden_size == get_preset("transformer").sizes["mini"]["hidden_size"]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_a_model_type_of_transformers_is_built_and_does_not_look_ahead(name):
    # hidden_size is an alias of GPT-2's own n_embd.
    overrides = {**TINY, "intermediate_size": 16} if name != "gpt2" else TINY
    model = build_model(name, vocab_size=6, seed=0, **overrides).eval()
    assert model.num_parameters() < 100_000
    assert model.generation_config.eos_token_id == 2
    ids, other = torch.tensor([[1, 3, 4, 5]]), torch.tensor([[1, 3, 4, 3]])
    torch.testing.assert_close(model(ids).logits[:, :3], model(other).logits[:, :3])


@pytest.mark.parametrize(
    ("name", "overrides", "remedy"),
    [
        ("xlnet", {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}, {"attn_type": "uni"}),
        ("xlm", {"emb_dim": 16, "n_layers": 1, "n_heads": 2}, {"causal": True}),
        ("bert", {**TINY, "intermediate_size": 16, "is_decoder": False}, {"is_decoder": True}),
    ],
)
def test_a_model_type_that_looks_ahead_is_refused(name, overrides, remedy):
    (field, value), *_ = remedy.items()
    with pytest.raises(RuleExtrapError, match=rf"architecture '{name}' looks ahead.*{field}='?{value}") as caught:
        build_model(name, vocab_size=6, seed=0, **overrides)
    assert "\n" not in str(caught.value)
    assert not looks_ahead(build_model(name, vocab_size=6, seed=0, **{**overrides, **remedy}))


def test_looks_ahead_detects_a_connection_with_zero_weights_and_restores_the_model():
    model = build_model("linear", vocab_size=6, seed=0, causal=False)
    torch.nn.init.zeros_(model.model.linear.weight)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert looks_ahead(model)
    assert torch.rand(1).equal(expected)
    assert model.training
    assert not model.model.linear.weight.any()


@pytest.mark.parametrize("name", list_architectures())
def test_no_preset_looks_ahead_or_at_other_rows(name):
    model = build_model(name, vocab_size=6, seed=0)
    assert not looks_ahead(model)
    assert not depends_on_other_rows(model)


def test_the_positions_of_the_authors_depend_on_the_row_in_the_batch():
    assert depends_on_other_rows(build_model("transformer", vocab_size=6, seed=0, positions="paper"))


def test_the_vocabulary_follows_from_the_name_or_the_object_of_a_language():
    for language in ("anbn", get_language("anbn"), get_language("dyck")):
        alphabet = get_language(language).alphabet
        assert build_model("lstm", language=language).config.vocab_size == 3 + len(alphabet)


def test_a_seed_decides_the_weights_and_keeps_the_global_random_state():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (build_model("transformer", vocab_size=5, seed=7) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    other = build_model("transformer", vocab_size=5, seed=8)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_without_a_seed_the_global_random_state_decides_the_weights():
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(build_model("lstm", vocab_size=5))
    assert torch.equal(models[0].lm_head.weight, models[1].lm_head.weight)
    assert not torch.equal(models[0].lm_head.weight, models[2].lm_head.weight)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lstn", {}, "unknown architecture 'lstn': did you mean 'lstm' or 'xlstm'?"),
        ("gpt3", {}, "near: gptj, gpt2"),
        ("qqqq", {}, "e.g. gpt2, llama"),
        ("vit", {}, "'vit' is not a causal LM"),
        ("lstm", {"size": "papr"}, "unknown size of lstm 'papr': did you mean 'paper'?"),
        ("lstm", {"hiden_size": 8}, "unknown field of lstm 'hiden_size': did you mean 'hidden_size'"),
        ("gpt2", {"n_embed": 8}, "unknown field of gpt2 'n_embed': did you mean 'n_embd'"),
        ("lstm", {"id2label": {}}, "unknown field of lstm 'id2label'"),
        ("lstm", {"pad_token_id": 4}, "pad_token_id cannot be overridden"),
        ("lstm", {"hidden_size": "64"}, "hidden_size of lstm is '64', of type str: give int"),
        ("lstm", {"hidden_size": 64.0}, "hidden_size of lstm is 64.0, of type float: give int"),
        ("lstm", {"num_hidden_layers": True}, "num_hidden_layers of lstm is True, of type bool: give int"),
        ("lstm", {"use_cache": 1}, "use_cache of lstm is 1, of type int: give bool"),
        ("gpt2", {"n_embd": "8"}, "n_embd of gpt2 is '8', of type str: give int"),
        ("gpt2", {"hidden_size": "8"}, "hidden_size of gpt2 is '8', of type str: give int"),
        ("gpt2", {"resid_pdrop": "1e-1"}, "resid_pdrop of gpt2 is '1e-1', of type str"),
        ("lstm", {"dropout": 2}, "dropout is 2: give a number between 0 and 1"),
        ("transformer", {"num_attention_heads": 5}, "num_attention_heads 5 does not divide hidden_size 32"),
        ("gpt2", {"n_embd": 8, "n_head": 3, "n_layer": 1}, "architecture 'gpt2' cannot be built"),
        ("lstm", {"seed": -1}, "seed is -1"),
        ("lstm", {"vocab_size": 2}, "vocab_size is 2"),
        ("lstm", {"language": "anbn"}, "exactly one of language and vocab_size"),
        ("lstm", {"vocab_size": None}, "exactly one of language and vocab_size"),
        ("lstm", {"vocab_size": None, "language": "annbn"}, "unknown language 'annbn'"),
        ("llama", {"hidden_size": 30, "num_attention_heads": 4}, "with hidden_size=30, num_attention_heads=4: "),
        ("mamba2", {"hidden_size": 16}, "architecture 'mamba2' cannot be built with hidden_size=16: "),
        ("gpt_neox", {"hidden_size": 30, "num_attention_heads": 4}, "architecture 'gpt_neox' cannot be built"),
        (
            "rwkv",
            {"num_hidden_layers": 1, "hidden_size": 8},
            "with num_hidden_layers=1, hidden_size=8: ZeroDivisionError",
        ),
        ("llama", {**TINY, "hidden_act": "foo"}, "hidden_act='foo': KeyError: "),
        ("mamba", {"hidden_size": -1}, "hidden_size of mamba is -1: give an integer of at least 1"),
        ("mamba", {"state_size": -2}, "state_size of mamba is -2: give an integer of at least 1"),
        ("mamba", {"conv_kernel": 0}, "conv_kernel of mamba is 0: give an integer of at least 1"),
        ("mamba", {"num_hidden_layers": 0}, "num_hidden_layers of mamba is 0: give an integer of at least 1"),
        ("gpt2", {"n_layer": 0}, "n_layer of gpt2 is 0: give an integer of at least 1"),
        ("lstm", {"hidden_size": 10**9}, "architecture 'lstm' cannot be built with hidden_size=1000000000: "),
        ("lstm", {"hidden_size": 10**6}, "GiB, and this machine has"),
    ],
)
def test_invalid_arguments_of_build_model_are_refused_in_one_line(name, options, message):
    with pytest.raises(RuleExtrapError) as caught:
        build_model(name, **{"vocab_size": 5, **options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_invalid_arguments_are_refused_before_a_module_is_built(monkeypatch):
    monkeypatch.setattr("torch.nn.Embedding.__init__", lambda *_, **__: pytest.fail("something was built"))
    with pytest.raises(RuleExtrapError, match="unknown field"):
        build_model("lstm", vocab_size=5, hiden_size=3)


BUDGETS = [
    (name, size, budget)
    for name in ("lstm", "mamba", "transformer")
    for size, budget in (("mini", 20_000), ("paper", 150_000))
]
BUDGETS += [("xlstm", "mini", 20_000), ("xlstm", "paper", 150_000), ("linear", "mini", 1_000_000)]


@pytest.mark.parametrize(("name", "size", "budget"), BUDGETS)
def test_a_parameter_budget_is_met_within_5_percent(name, size, budget):
    model = build_model(name, vocab_size=6, size=size, parameters=budget)
    assert abs(model.num_parameters() - budget) <= 0.05 * budget
    fitted = fit_parameters(name, budget, size=size, vocab_size=6)
    assert all(getattr(model.config, key) == value for key, value in fitted.items())
    assert count_parameters(model.config) == model.num_parameters()


def test_a_large_parameter_budget_is_met():
    model = build_model("xlstm", vocab_size=6, size="paper", slstm_at=[], parameters=300_000)
    assert abs(model.num_parameters() - 300_000) <= 15_000


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear", {"parameters": 1000}, "no linear of size 'mini' has 1,000 parameters within 5 %"),
        ("lstm", {"parameters": 9000, "hidden_size": 8}, "parameters decides hidden_size of lstm"),
        ("gpt2", {"parameters": 9000}, "parameters works for presets only (linear, lstm, mamba, transformer, xlstm)"),
        ("gpt2", {"parameters": 9000}, "'gpt2' is a model type of transformers: give its sizes as overrides"),
        ("lstn", {"parameters": 9000}, "unknown architecture 'lstn': did you mean 'lstm' or 'xlstm'?"),
        ("lstm", {"parameters": "x"}, "parameters is 'x': give an integer of at least 1"),
        ("lstm", {"parameters": 0}, "parameters is 0: give an integer of at least 1"),
        ("xlstm", {"parameters": 9000, "num_attention_heads": 3}, "num_attention_heads 3 does not divide hidden_size"),
    ],
)
def test_an_impossible_parameter_budget_is_refused_in_one_line(name, options, message):
    with pytest.raises(RuleExtrapError) as caught:
        build_model(name, vocab_size=5, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


FOREIGN = {
    "llama": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 32,
    },
    "mamba2": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_heads": 4,
        "head_dim": 8,
        "state_size": 8,
        "n_groups": 1,
    },
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2},
    "rwkv": {"hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_model_type_of_transformers_trains_from_a_recipe(name, tmp_path):
    from tiny import TINY

    from hf_ruleextrap.train.recipe import Recipe
    from hf_ruleextrap.train.run import run_recipe

    values = {
        **TINY,
        "architecture": name,
        "model": FOREIGN[name],
        "output_dir": str(tmp_path),
        "max_steps": 4,
        "eval_steps": 2,
    }
    results = run_recipe(Recipe.of(values, "test"))
    assert results.training.steps == 4
    assert results.validation.loss > 0
    assert results.best.kinds["ood"].greedy.report.n == 251


@torch.no_grad()
def test_the_weights_of_the_paper_s_mamba_are_initialized_as_in_torch() -> None:
    """In mamba.py, which the authors use, embeddings are N(0, 1) and the projections have torch's uniform weights."""
    paper, mini = (build_model("mamba", vocab_size=8, size=size, seed=0) for size in ("paper", "mini"))
    assert 0.85 < float(paper.get_input_embeddings().weight.std()) < 1.15
    assert float(mini.get_input_embeddings().weight.std()) < 0.15
    assert paper.lm_head.weight is paper.get_input_embeddings().weight
    mixer = paper.backbone.layers[3].mixer
    for layer, inputs in [(mixer.in_proj, 32), (mixer.x_proj, 64), (mixer.conv1d, 8)]:
        bound = inputs**-0.5
        assert 0.95 * bound < float(layer.weight.abs().max()) <= bound
    assert float(mixer.conv1d.bias.abs().max()) > 0
    again = build_model("mamba", vocab_size=8, size="paper", seed=0)
    assert all(value.equal(again.state_dict()[name]) for name, value in paper.state_dict().items())
