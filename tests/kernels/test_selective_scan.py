"""The compiled scan against the sequential definition and against transformers' own model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM

from hf_ruleextrap.kernels import kernels_found, use_kernels
from hf_ruleextrap.kernels.selective_scan import selective_scan

CLOSE = 1e-5


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    use_kernels()


def sequential(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    state, outputs = x.new_zeros(*x.shape[:2], a.shape[1]), []
    for t in range(x.shape[2]):
        step = dt[:, :, t, None]
        state = torch.exp(step * a) * state + step * b[:, None, t] * x[:, :, t, None]
        outputs.append((state * c[:, None, t]).sum(-1))
    return torch.stack(outputs, dim=-1), state


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / (theirs.abs().max() + 1e-12))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 40, 16), (2, 8, 258, 3)])
def test_forward_and_gradient_are_the_definition_s(shape: tuple[int, int, int, int]) -> None:
    rows, channels, length, size = shape
    rng = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(rows, channels, length, generator=rng),
        torch.rand(rows, channels, length, generator=rng),
        -torch.rand(channels, size, generator=rng) * 3,
        torch.randn(rows, length, size, generator=rng),
        torch.randn(rows, length, size, generator=rng),
    ]
    weights = torch.randn(rows, channels, length, generator=rng), torch.randn(rows, channels, size, generator=rng)
    gradients, outputs = [], []
    for scan in (selective_scan, sequential):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        made = scan(*leaves)
        sum((output * weight).sum() for output, weight in zip(made, weights, strict=True)).backward()
        outputs.append(made)
        gradients.append([leaf.grad for leaf in leaves])
    for ours, theirs in (*zip(*outputs, strict=True), *zip(*gradients, strict=True)):
        assert relative(ours, theirs) < CLOSE


def mamba() -> MambaForCausalLM:
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=8, hidden_size=16, num_hidden_layers=2, state_size=8, eos_token_id=2)
    return MambaForCausalLM(config)


def test_transformers_model_computes_the_same_with_and_without() -> None:
    model, ids = mamba(), torch.randint(3, 8, (3, 33))
    found = []
    for use in (True, False):
        assert use_kernels(use) is use
        model.zero_grad()
        out = model(ids, labels=ids, use_cache=False)
        out.loss.backward()
        found.append((out.logits.detach(), [p.grad.clone() for p in model.parameters()]))
    assert relative(found[0][0], found[1][0]) < CLOSE
    assert all(relative(ours, theirs) < CLOSE for ours, theirs in zip(found[0][1], found[1][1], strict=True))


def test_a_checkpoint_does_not_know_of_it() -> None:
    states = []
    for use in (True, False):
        use_kernels(use)
        model = mamba()
        states.append((type(model).__module__, list(model.state_dict()), model.config.to_dict()))
    assert states[0] == states[1]
    assert states[0][0].startswith("transformers.")


def test_half_precision_and_other_types_take_the_plain_path() -> None:
    use_kernels(True)
    assert mamba().bfloat16()(torch.randint(3, 8, (1, 5))).logits.isfinite().all()


def test_not_a_number_stays_visible() -> None:
    x = torch.tensor([[[1.0, float("nan"), 1.0]]])
    one = torch.ones(1, 3, 1)
    y, last = selective_scan(x, torch.ones(1, 1, 3), -torch.ones(1, 1), one, one)
    assert y.isnan().tolist() == [[[False, True, True]]]
    assert last.isnan().all()


def test_building_a_model_warns_of_nothing_and_the_environment_turns_it_off() -> None:
    code = (
        "import torch; from hf_ruleextrap import build_model; from hf_ruleextrap.kernels import kernels_found;"
        "m = build_model('mamba', language='anbn'); m(torch.tensor([[1, 3, 4]])); print(kernels_found()['mamba'])"
    )
    for value, expected in (("1", "compiled scan"), ("0", "transformers' loop")):
        done = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", "-c", code],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "HF_RULEEXTRAP_KERNELS": value},
            check=True,
        )
        assert done.stdout.startswith(expected)
        if value == "1":
            assert "falling back" not in done.stderr
    assert set(kernels_found()) == {"mamba", "xlstm"}
