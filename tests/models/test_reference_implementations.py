"""The Transformer equals the layers of torch, and the xLSTM equals the package xlstm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hf_ruleextrap.architectures import architecture_config, build_model
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.models.transformer import (
    Layer,
    RuleTransformerConfig,
    Window,
    alibi,
    rotate,
    sinusoids,
    to_keep,
)
from hf_ruleextrap.models.xlstm import package_name


def reference(model) -> nn.TransformerEncoder:
    """Return torch's encoder with the weights of the model."""
    config = model.config
    pre = config.norm_placement == "pre"
    layer = nn.TransformerEncoderLayer(
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        config.dropout,
        layer_norm_eps=config.layer_norm_eps,
        batch_first=True,
        norm_first=pre,
    )
    norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if pre else None
    encoder = nn.TransformerEncoder(layer, config.num_hidden_layers, norm=norm, enable_nested_tensor=False)
    names = {
        "attention.qkv.weight": "self_attn.in_proj_weight",
        "attention.qkv.bias": "self_attn.in_proj_bias",
        "attention.out.": "self_attn.out_proj.",
    }
    state = {}
    for name, value in model.base_model.state_dict().items():
        if not name.startswith("embed_"):
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            state[name] = value
    encoder.load_state_dict(state)
    return encoder


@pytest.mark.parametrize("norm_placement", ["post", "pre"])
@pytest.mark.parametrize("size", ["paper", "mini"])
@torch.no_grad()
def test_the_transformer_equals_the_encoder_of_torch_under_a_causal_mask(size, norm_placement):
    model = build_model(
        "transformer", vocab_size=6, size=size, seed=1, positions="none", norm_placement=norm_placement
    ).eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.LayerNorm)):
        # Norms with their initial weights would hide a confusion of two norms.
        nn.init.normal_(norm.weight, mean=1.0, std=0.3)
        nn.init.normal_(norm.bias, std=0.3)
    encoder = reference(model).eval()
    ids = torch.randint(0, 6, (4, 17), generator=torch.Generator().manual_seed(0))
    embeds = model.get_input_embeddings()(ids) * model.config.hidden_size**0.5
    expected = encoder(embeds, mask=nn.Transformer.generate_square_subsequent_mask(17), is_causal=True)
    torch.testing.assert_close(model.base_model(ids).last_hidden_state, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(ids).logits, model.lm_head(expected), atol=1e-5, rtol=1e-5)


def test_dropout_changes_training_and_not_evaluation():
    model = build_model("transformer", vocab_size=6, size="paper", seed=1)
    ids = torch.tensor([[1, 3, 4, 5]])
    assert not torch.equal(model.train()(ids).logits, model(ids).logits)
    assert torch.equal(model.eval()(ids).logits, model(ids).logits)


@torch.no_grad()
def test_without_positions_the_order_of_the_past_does_not_reach_the_first_layer():
    ids, swapped = torch.tensor([[1, 3, 4, 5]]), torch.tensor([[1, 4, 3, 5]])
    for positions in ["none", "sinusoidal", "learned", "rotary", "alibi"]:
        model = build_model("transformer", vocab_size=6, seed=0, positions=positions, num_hidden_layers=1)
        same = torch.allclose(model.eval()(ids).logits[:, -1], model(swapped).logits[:, -1], atol=1e-6)
        assert same == (positions == "none"), positions


@torch.no_grad()
def test_more_tokens_than_learned_positions_are_refused():
    model = build_model("transformer", vocab_size=6, positions="learned", max_position_embeddings=8).eval()
    ids = torch.full((1, 9), 3)
    model(ids[:, :8])
    with pytest.raises(ValueError, match=r"9 tokens is longer than the 8 learned positions: .*max_position_emb"):
        model(ids)
    with pytest.raises(ValueError, match="9 tokens"):
        model(ids[:, :1], past_key_values=model(ids[:, :8], use_cache=True).past_key_values)
    # Padding takes no position.
    mask = torch.ones(1, 9, dtype=torch.long)
    mask[0, 0] = 0
    model(ids, attention_mask=mask)


def test_sinusoids_are_those_of_vaswani_et_al():
    table = sinusoids(torch.arange(3), 4)
    angle = torch.tensor([[0.0, 0.0], [1.0, 0.01], [2.0, 0.02]])
    torch.testing.assert_close(table[:, 0::2], angle.sin())
    torch.testing.assert_close(table[:, 1::2], angle.cos())
    assert sinusoids(torch.arange(3), 5).shape == (3, 5)


def test_a_rotation_keeps_lengths_and_depends_on_distance_only():
    queries, keys = torch.randn(2, 1, 1, 1, 2, generator=torch.Generator().manual_seed(0)).unbind()

    def score(i: int, j: int) -> torch.Tensor:
        turns = [(torch.tensor([[float(n)]]).cos(), torch.tensor([[float(n)]]).sin()) for n in (i, j)]
        return (rotate(queries, turns[0]) * rotate(keys, turns[1])).sum()

    torch.testing.assert_close(score(5, 3), score(12, 10))
    assert not torch.isclose(score(5, 3), score(5, 4))
    torch.testing.assert_close(score(7, 7), (queries * keys).sum())


def test_alibi_takes_a_slope_per_head_times_the_distance():
    bias = alibi(torch.tensor([[2]]), torch.tensor([[0, 1, 2]]), heads=2)
    assert bias[0, :, 0].tolist() == [[-2 / 16, -1 / 16, 0], [-2 / 256, -1 / 256, 0]]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("places", [1, 7, 200_000])
def test_a_dropout_mask_drops_the_expected_share(share: float, places: int) -> None:
    torch.manual_seed(0)
    dropped = ~to_keep(torch.empty(places), share)
    assert dropped.shape == (places,)
    assert abs(float(dropped.float().mean()) - share) <= 4 * (share * (1 - share) / places) ** 0.5 + 1e-9
    if places > 7 and 0 < share < 1:
        # Neighbours, which come from one draw of 64 bits, are independent.
        pairs = dropped.view(-1, 2).float()
        assert abs(float((pairs[:, 0] * pairs[:, 1]).mean()) - share**2) < 0.005


def test_dropout_has_the_mean_output_and_gradient_of_torch() -> None:
    """Compare the layer with a `torch.nn.TransformerEncoderLayer` of the same weights over many draws."""
    torch.manual_seed(0)
    config = RuleTransformerConfig(hidden_size=8, num_attention_heads=2, intermediate_size=32, dropout=0.2)
    ours, theirs = Layer(config, 0), torch.nn.TransformerEncoderLayer(8, 2, 32, 0.2, batch_first=True)
    theirs.norm1.eps = theirs.norm2.eps = config.layer_norm_eps
    pairs = {
        "self_attn.in_proj_weight": ours.attention.qkv.weight,
        "self_attn.in_proj_bias": ours.attention.qkv.bias,
        "self_attn.out_proj.weight": ours.attention.out.weight,
        "self_attn.out_proj.bias": ours.attention.out.bias,
    }
    state = {**{name: value for name, value in ours.state_dict().items() if "attention" not in name}, **pairs}
    theirs.load_state_dict(state)
    inputs = torch.randn(1, 6, 8)
    copies = inputs.expand(20_000, -1, -1)
    causal = torch.ones(6, 6, dtype=torch.bool).triu(1)
    outputs = []
    for compute in (
        lambda: ours(copies, Window(None, causal=True, rotation=None), None),
        lambda: theirs(copies, src_mask=causal),
    ):
        output = compute()
        output.square().mean().backward()
        outputs.append(output)
    for moment in (lambda x: x.mean(0), lambda x: x.var(0)):
        torch.testing.assert_close(moment(outputs[0]), moment(outputs[1]), atol=0.03, rtol=0.03)
    torch.testing.assert_close(ours.linear1.weight.grad, theirs.linear1.weight.grad, atol=2e-3, rtol=0.1)
    torch.testing.assert_close(
        ours.attention.qkv.weight.grad, theirs.self_attn.in_proj_weight.grad, atol=2e-3, rtol=0.1
    )


@torch.no_grad()
def test_the_paper_s_positions_are_one_vector_for_each_row_of_the_batch() -> None:
    none, paper = (
        build_model("transformer", vocab_size=6, seed=0, positions=kind).eval() for kind in ("none", "paper")
    )
    assert list(none.state_dict()) == list(paper.state_dict())
    ids = torch.tensor([[1, 3, 4, 4, 5]]).expand(3, -1)
    embeds = none.get_input_embeddings()(ids)
    # The embedding is scaled before the vector is added.
    shifted = embeds + sinusoids(torch.arange(3), 32)[:, None] / 32**0.5
    torch.testing.assert_close(paper(ids).logits, none(inputs_embeds=shifted).logits)
    assert not torch.allclose(paper(ids).logits[0], paper(ids).logits[1], atol=1e-4)
    # The order of the tokens has no effect, as without positions.
    swapped = torch.tensor([[1, 4, 3, 4, 5]])
    one = build_model("transformer", vocab_size=6, seed=0, positions="paper", num_hidden_layers=1).eval()
    torch.testing.assert_close(one(ids[:1]).logits[:, -1], one(swapped).logits[:, -1])


def test_dropout_also_drops_the_embeddings() -> None:
    model = build_model("transformer", vocab_size=6, size="paper", seed=1, dropout=0.5).train()
    inputs = []
    model.model.layers[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    torch.manual_seed(0)
    ids = torch.full((8, 50), 3)
    model(ids)
    kept = model.get_input_embeddings()(ids) * 10**0.5 * 2
    dropped = inputs[0] == 0
    assert 0.45 < dropped.float().mean() < 0.55
    torch.testing.assert_close(inputs[0][~dropped], kept[~dropped])


@torch.no_grad()
def test_mask_padding_equals_the_key_padding_mask_of_torch() -> None:
    model = build_model("transformer", vocab_size=6, size="paper", seed=1, mask_padding=True).eval()
    plain = build_model("transformer", vocab_size=6, size="paper", seed=1).eval()
    ids = torch.tensor([[1, 3, 4, 2, 0, 0, 0], [1, 3, 3, 4, 4, 2, 0]])
    embeds = model.get_input_embeddings()(ids) * model.config.hidden_size**0.5
    causal = torch.ones(7, 7, dtype=torch.bool).triu(1)
    expected = reference(model).eval()(embeds, mask=causal, src_key_padding_mask=ids == 0)
    torch.testing.assert_close(model.base_model(ids).last_hidden_state, expected, atol=1e-5, rtol=1e-5)
    # Only the outputs at PAD differ from those of the model without the mask.
    same = torch.isclose(model(ids).logits, plain(ids).logits, atol=1e-6).all(dim=-1)
    assert same[ids != 0].all()
    assert not same[0, 5:].any()
    # An attention mask from the caller replaces the mask of padding.
    everything = torch.ones_like(ids)
    assert model(ids, attention_mask=everything).logits.equal(plain(ids).logits)


# The xLSTM.


# The tolerance relative to the largest number; the two implementations sum in different orders.
CLOSE = 1e-5


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float(((ours - theirs).abs().max() / (theirs.abs().max() + 1e-12)).detach())


def package_model(vocab_size: int, *, slstm_at: list[int], blocks: int) -> torch.nn.Module:
    xlstm = pytest.importorskip("xlstm", reason="the extra xlstm is not installed")
    return xlstm.xLSTMLMModel(
        xlstm.xLSTMLMModelConfig(
            vocab_size=vocab_size,
            embedding_dim=64,
            num_blocks=blocks,
            context_length=258,
            slstm_at=slstm_at,
            mlstm_block=xlstm.mLSTMBlockConfig(
                mlstm=xlstm.mLSTMLayerConfig(conv1d_kernel_size=4, qkv_proj_blocksize=4, num_heads=4)
            ),
            slstm_block=xlstm.sLSTMBlockConfig(
                slstm=xlstm.sLSTMLayerConfig(backend="vanilla", num_heads=4, conv1d_kernel_size=4),
                feedforward=xlstm.FeedForwardConfig(proj_factor=1.3, act_fn="gelu"),
            ),
        )
    )


@pytest.mark.parametrize(("slstm_at", "blocks"), [([1], 6), ([], 2), ([0, 1], 2)])
def test_outputs_and_gradients_are_those_of_the_package_xlstm(slstm_at: list[int], blocks: int) -> None:
    theirs = package_model(5, slstm_at=slstm_at, blocks=blocks)
    ours = build_model("xlstm", vocab_size=5, size="paper", slstm_at=slstm_at, num_hidden_layers=blocks, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        # The recurrent weights start at 0, which would leave them untested.
        for parameter in ours.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    theirs.load_state_dict({package_name(name): value for name, value in ours.state_dict().items()})
    ids = torch.randint(3, 5, (3, 150))
    assert relative(ours(ids, use_cache=False).logits, theirs(ids)) < CLOSE
    # A gradient sums hundreds of terms that cancel. In double precision, only a mistake exceeds the tolerance.
    logits, expected = ours.double()(ids, use_cache=False).logits, theirs.double()(ids)
    assert relative(logits, expected) < CLOSE
    logits.square().mean().backward()
    expected.square().mean().backward()
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert relative(parameter.grad, named[package_name(name)].grad) < CLOSE, name


def test_the_weights_are_initialized_as_in_the_package_xlstm() -> None:
    torch.manual_seed(0)
    theirs = package_model(5, slstm_at=[1], blocks=6)
    theirs.reset_parameters()
    ours = build_model("xlstm", vocab_size=5, size="paper", seed=0)
    named = dict(theirs.named_parameters())
    assert {package_name(name) for name, _ in ours.named_parameters()} == set(named)
    for name, value in ours.named_parameters():
        other = named[package_name(name)]
        assert value.shape == other.shape, name
        spread, expected = float(value.detach().std()), float(other.detach().std())
        # The spread of a few hundred random numbers varies by about a tenth. Weights that are not random are equal.
        assert spread == pytest.approx(expected, rel=0.35, abs=1e-3 if value.numel() > 8 else 0.2), name
    bias = "model.blocks.1.xlstm.slstm_cell.bias"
    torch.testing.assert_close(ours.get_parameter(bias), named[package_name(bias)])


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_logits_do_not_depend_on_the_chunk_size(chunk: int) -> None:
    models = [build_model("xlstm", vocab_size=5, chunk_size=size, seed=0).eval() for size in (256, chunk)]
    ids = torch.randint(3, 5, (2, 80), generator=torch.Generator().manual_seed(0))
    whole, parts = (model(ids, use_cache=False).logits for model in models)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"slstm_at": [2]}, "slstm_at is [2]: give a list of numbers from 0 to 1"),
        ({"num_attention_heads": 3}, "num_attention_heads 3 does not divide hidden_size 32"),
        ({"qkv_block_size": 5}, "qkv_block_size 5 does not divide the mLSTM's inner width 64"),
        ({"proj_factor": -1.0}, "proj_factor is -1.0: give a number above 0"),
    ],
)
def test_an_invalid_xlstm_configuration_is_refused_in_one_line(overrides: dict, message: str) -> None:
    with pytest.raises(RuleExtrapError) as caught:
        architecture_config("xlstm", vocab_size=5, overrides=overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
