"""The xLSTM has the parameters, outputs and gradients of the package xlstm."""

from __future__ import annotations

import pytest
import torch

from hf_ruleextrap import build_model
from hf_ruleextrap.architectures import architecture_config
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.models.xlstm import package_name

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
