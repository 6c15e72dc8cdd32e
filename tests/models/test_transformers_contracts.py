"""Every architecture behaves as transformers and the libraries around it expect of a causal language model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, pipeline

from hf_ruleextrap import build_model, get_language
from hf_ruleextrap.architectures import get_preset, list_architectures
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.tokenization import build_tokenizer

EVERY = list_architectures()
OWN = [name for name in EVERY if get_preset(name).model_type.startswith("ruleextrap_")]
LAYERS = {"linear": 1, "lstm": 3, "mamba": 2, "transformer": 2, "xlstm": 2}
CLOSE = {"atol": 1e-5, "rtol": 1e-4}
IDS = torch.tensor([[1, 3, 4, 4, 3], [1, 4, 3, 3, 4]])


def build(name: str, **fields: object) -> PreTrainedModel:
    return build_model(name, language="anbn", seed=0, **({"num_hidden_layers": 3} if name == "lstm" else {}), **fields)


@pytest.fixture(params=EVERY)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return build(request.param).eval()


@pytest.fixture(params=OWN)
def own(request: pytest.FixtureRequest) -> PreTrainedModel:
    return build(request.param).eval()


class Adapted(nn.Module):
    """The replacement of a linear layer by a low-rank adapter: the layer plus the product of two small matrices."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, inputs: Tensor) -> Tensor:
        return self.base(inputs) + self.up(self.down(inputs))


@torch.no_grad()
@pytest.mark.parametrize("name", EVERY)
def test_hidden_states_are_the_input_of_the_first_layer_and_the_output_of_each(name: str) -> None:
    model = build(name).eval()
    assert model(IDS).hidden_states is None
    for output in (model(IDS, output_hidden_states=True), model.base_model(IDS, output_hidden_states=True)):
        assert len(output.hidden_states) == LAYERS[name] + 1
        assert all(states.shape[:2] == IDS.shape for states in output.hidden_states)
    last = model.base_model(IDS).last_hidden_state
    torch.testing.assert_close(output.hidden_states[-1], last, **CLOSE)
    generated = model.generate(
        IDS, max_new_tokens=3, min_new_tokens=3, output_hidden_states=True, return_dict_in_generate=True
    )
    assert len(generated.hidden_states) == 3
    assert all(len(states) == LAYERS[name] + 1 for states in generated.hidden_states)


@torch.no_grad()
def test_hidden_states_of_a_padded_row_are_those_of_the_row_alone(own: PreTrainedModel) -> None:
    padded = torch.tensor([[0, 0, 1, 3, 4], [1, 4, 3, 3, 4]])
    both = own(padded, attention_mask=(padded != 0).long(), output_hidden_states=True).hidden_states
    alone = own(padded[:1, 2:], output_hidden_states=True).hidden_states
    for states, expected in zip(both, alone, strict=True):
        torch.testing.assert_close(states[:1, 2:], expected, **CLOSE)


def test_generation_from_embeddings_equals_generation_from_ids(model: PreTrainedModel) -> None:
    mask, embeds = torch.ones_like(IDS), model.get_input_embeddings()(IDS)
    for use_cache in (True, False):
        options = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "use_cache": use_cache}
        generated = model.generate(inputs_embeds=embeds, **options)
        assert generated.tolist() == model.generate(IDS, **options)[:, IDS.shape[1] :].tolist()


@torch.no_grad()
def test_only_the_default_position_ids_are_accepted(own: PreTrainedModel) -> None:
    expected = own(IDS).logits
    torch.testing.assert_close(own(IDS, position_ids=torch.arange(5)[None]).logits, expected)
    cache = own(IDS[:, :3], use_cache=True).past_key_values
    rest = own(IDS[:, 3:], past_key_values=cache, position_ids=torch.tensor([[3, 4]])).logits
    torch.testing.assert_close(rest, expected[:, 3:], **CLOSE)
    padded = torch.tensor([[0, 0, 1, 3, 4], [1, 4, 3, 3, 4]])
    own(padded, attention_mask=padded != 0, position_ids=torch.tensor([[1, 1, 0, 1, 2], [0, 1, 2, 3, 4]]))
    for packed in ([[0, 1, 2, 0, 1]], [[1, 2, 3, 4, 5]], [[0, 1, 2]], [[[0, 1, 2, 3, 4]]]):
        with pytest.raises(ValueError, match="packed rows are not supported") as caught:
            own(IDS, position_ids=torch.tensor(packed))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argument", ["output_attentions", "head_mask", "cu_seq_lens_q", "encoder_hidden_states"])
def test_an_unsupported_argument_is_refused_in_one_line(own: PreTrainedModel, argument: str) -> None:
    own(IDS, **{argument: None})
    with pytest.raises(ValueError, match=f"^{argument} is not supported by this architecture: leave it out$"):
        own(IDS, **{argument: True if argument == "output_attentions" else torch.ones(1)})


@torch.no_grad()
def test_a_mask_may_be_of_any_type_and_pad_on_any_side(model: PreTrainedModel) -> None:
    for padded in ([[0, 0, 1, 3, 4], [1, 4, 3, 3, 4]], [[1, 3, 4, 0, 0], [1, 4, 3, 3, 4]]):
        ids = torch.tensor(padded)
        mask = ids != 0
        expected = model(torch.tensor([[1, 3, 4]])).logits[0]
        for kind in (torch.bool, torch.int64, torch.int32, torch.float32):
            logits = model(ids, attention_mask=mask.to(kind)).logits[0, mask[0]]
            torch.testing.assert_close(logits, expected, **CLOSE)


def test_an_invalid_mask_is_refused_in_one_line(own: PreTrainedModel) -> None:
    for mask, message in (
        (torch.ones(2, 1, 5, 5), r"attention_mask has shape \(2, 1, 5, 5\): give \(2, 5\)"),
        (torch.ones(2, 5, 5), r"attention_mask has shape \(2, 5, 5\): give \(2, 5\)"),
        (torch.full((2, 5), -1e9), "attention_mask holds other values than 0 and 1"),
        (torch.tensor([[0.5, 1, 1, 1, 1]] * 2), "attention_mask holds other values than 0 and 1"),
        (torch.tensor([[2, 2, 2, 2, 2]] * 2), "attention_mask holds other values than 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            own(IDS, attention_mask=mask)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("training", [True, False])
def test_adapters_on_all_linear_layers_act_and_are_trained(name: str, training: bool) -> None:
    """The test adapts the layers as LoRA does with target_modules="all-linear", with dropout if there is any."""
    dropout = {"dropout": 0.1} if name in ("lstm", "transformer", "xlstm") else {}
    model = build(name, **dropout).requires_grad_(False).train(training)
    linears = [path for path, module in model.named_modules() if type(module) is nn.Linear and path != "lm_head"]
    for path in linears:
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, Adapted(model.get_submodule(path)))
    if not linears:
        assert name in ("linear", "lstm")
        return
    with torch.no_grad():
        for parameter in model.parameters():
            # Some gates start at zero, and no gradient passes through a gate that is zero.
            parameter.add_(torch.full_like(parameter, 0.01))
    model(IDS, labels=IDS).loss.backward()
    gradients = {path: model.get_parameter(f"{path}.up.weight").grad for path in linears}
    # transformers' Mamba reads the weight of its projection of time steps, and does not call the layer.
    bypassed = [path for path, grad in gradients.items() if grad is None or not grad.abs().sum() > 0]
    assert not [path for path in bypassed if not path.endswith("dt_proj")]


@pytest.mark.parametrize("training", [True, False])
def test_forward_hooks_run_on_every_module_with_weights(own: PreTrainedModel, training: bool) -> None:
    names = {
        name
        for name, module in own.named_modules()
        if any(True for _ in module.parameters(recurse=False)) and not name.endswith(("slstm_cell", "conv1d.conv"))
    }
    ran: set[str] = set()
    for name in names:
        own.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.add(name))
    own.train(training)(IDS, labels=IDS)
    if own.config.model_type == "ruleextrap_linear":
        # With a cache, the model uses parts of its map without a call of the module.
        own(IDS, use_cache=False)
    assert ran == names


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("name", ["mamba", "transformer", "xlstm"])
def test_gradient_checkpointing_changes_no_gradient(name: str, use_cache: bool) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = build(name).train()
        calls: list[int] = []
        if checkpointing:
            model.activation_checkpointing_enable()
            blocks = model.base_model.blocks if name == "xlstm" else model.base_model.layers
            blocks[0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        loss = model(IDS, labels=IDS, use_cache=use_cache).loss
        loss.backward()
        # Each layer of this package runs again in the backward pass; the test does not count the calls of Mamba.
        assert len(calls) == (2 if checkpointing else 0) or name == "mamba"
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, **CLOSE)


@pytest.mark.parametrize("name", ["linear", "lstm"])
def test_an_architecture_of_one_module_refuses_gradient_checkpointing(name: str) -> None:
    with pytest.raises(ValueError, match="does not support activation checkpointing"):
        build(name).activation_checkpointing_enable()


@pytest.mark.parametrize("name", [name for name in EVERY if name != "linear"])
def test_resized_embeddings_are_read_trained_and_generated(name: str) -> None:
    model = build(name).eval()
    with torch.no_grad():
        before = model(IDS).logits
    model.resize_token_embeddings(9, mean_resizing=False)
    assert model.config.vocab_size == 9
    output = model(torch.cat([IDS, torch.tensor([[8], [7]])], dim=1), labels=torch.full((2, 6), 8))
    assert output.logits.shape == (2, 6, 9)
    torch.testing.assert_close(output.logits[:, :5, :5], before, **CLOSE)
    output.loss.backward()
    assert model.generate(IDS, max_new_tokens=3).shape[1] <= 8


def test_the_linear_model_refuses_another_vocabulary() -> None:
    model = build("linear")
    assert model.resize_token_embeddings(5) is model.get_input_embeddings()
    with pytest.raises(ValueError, match="the linear model cannot be resized from 5 to 9 tokens: build a new one"):
        model.resize_token_embeddings(9)


@pytest.mark.parametrize("name", OWN)
def test_a_model_loaded_as_remote_code_is_pickled(name: str, tmp_path: Path) -> None:
    build(name).save_pretrained(tmp_path)
    code = (
        "import pickle, sys, torch; from transformers import AutoModelForCausalLM;"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True);"
        "again = pickle.loads(pickle.dumps(model));"
        "ids = torch.tensor([[1, 3, 4]]);"
        "assert type(model).__module__.startswith('transformers_modules');"
        "assert again(ids).logits.equal(model(ids).logits)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("stop", ["b", "ab", ["bb", "aa"], ["x", "ba"]])
def test_generation_stops_at_a_string(model: PreTrainedModel, stop: str | list[str]) -> None:
    tokenizer = build_tokenizer(get_language("anbn"))
    options = {"max_new_tokens": 12, "do_sample": True, "top_k": 0, "suppress_tokens": [0, 1, 2]}
    torch.manual_seed(1)
    free = model.generate(IDS[:1], **options)[0, 5:]
    torch.manual_seed(1)
    stopped = model.generate(IDS[:1], **options, stop_strings=stop, tokenizer=tokenizer)[0, 5:]
    stops = [stop] if isinstance(stop, str) else stop
    texts = [tokenizer.decode(torch.cat([IDS[0, 1:], free[:n]])) for n in range(1, 13)]
    length = next((n for n, text in enumerate(texts, 1) if text.endswith(tuple(stops))), 12)
    assert stopped.tolist() == free[:length].tolist()


@pytest.mark.parametrize(("text", "symbol"), [("a b", "' '"), ("axb", "'x'"), (["ab", "aß"], "'ß'"), ("abcdef", "'c'")])
def test_the_pipeline_names_an_unknown_symbol(text: str | list[str], symbol: str) -> None:
    pipe = pipeline("text-generation", model=build("lstm"), tokenizer=build_tokenizer(get_language("anbn")))
    with pytest.raises(RuleExtrapError, match=rf"^{symbol} is not a symbol of the alphabet \{{a, b\}}: write a word"):
        pipe(text, max_new_tokens=2)
