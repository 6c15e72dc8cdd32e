"""The compiled scan and the chunked scan equal the sequential definition and transformers' own model."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM

from hf_ruleextrap import kernels
from hf_ruleextrap.kernels import chunked_scan, kernels_found, use_kernels
from hf_ruleextrap.kernels.chunked_scan import over
from hf_ruleextrap.kernels.sequential_scan import selective_scan

CLOSE = 1e-5


@pytest.fixture(autouse=True)
def _restored_kernels() -> Iterator[None]:
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
    return float(((ours - theirs).abs().max() / (theirs.abs().max() + 1e-12)).detach())


@pytest.mark.parametrize("ours", [selective_scan, chunked_scan.selective_scan], ids=["compiled", "chunked"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 2, 3), (3, 5, 40, 16), (2, 8, 258, 3)])
def test_outputs_and_gradients_agree_with_the_definition(shape: tuple[int, int, int, int], ours: Callable) -> None:
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
    for scan in (ours, sequential):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        results = scan(*leaves)
        sum((output * weight).sum() for output, weight in zip(results, weights, strict=True)).backward()
        outputs.append(results)
        gradients.append([leaf.grad for leaf in leaves])
    for actual, expected in (*zip(*outputs, strict=True), *zip(*gradients, strict=True)):
        assert relative(actual, expected) < CLOSE


def mamba() -> MambaForCausalLM:
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=8, hidden_size=16, num_hidden_layers=2, state_size=8, eos_token_id=2)
    return MambaForCausalLM(config)


def test_mamba_of_transformers_computes_the_same_with_and_without_kernels() -> None:
    model, ids = mamba(), torch.randint(3, 8, (3, 33))
    results = []
    for use in (True, False):
        assert use_kernels(use) is use
        model.zero_grad()
        out = model(ids, labels=ids, use_cache=False)
        out.loss.backward()
        results.append((out.logits.detach(), [p.grad.clone() for p in model.parameters()]))
    assert relative(results[0][0], results[1][0]) < CLOSE
    assert all(relative(ours, theirs) < CLOSE for ours, theirs in zip(results[0][1], results[1][1], strict=True))


def test_a_checkpoint_does_not_depend_on_the_kernels() -> None:
    states = []
    for use in (True, False):
        use_kernels(use)
        model = mamba()
        states.append((type(model).__module__, list(model.state_dict()), model.config.to_dict()))
    assert states[0] == states[1]
    assert states[0][0].startswith("transformers.")


def test_the_chunked_scan_is_exact_for_strong_decay_and_long_sequences() -> None:
    """With decays of exp(-700), a scan that divides by their product would give NaN even in fp64."""
    rng = torch.Generator().manual_seed(0)
    x, b, c = (torch.randn(1, n, 300, generator=rng, dtype=torch.float64) for n in (2, 4, 4))
    dt, a = 700 * torch.rand_like(x), -torch.ones(2, 4, dtype=torch.float64)
    inputs = (x, dt, a, b.transpose(1, 2), c.transpose(1, 2))
    for ours, theirs in zip(chunked_scan.selective_scan(*inputs), sequential(*inputs), strict=True):
        assert ours.dtype == torch.float64
        assert relative(ours, theirs) < 1e-12


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_mamba_of_transformers_agrees_in_other_precisions(kind: torch.dtype) -> None:
    """In fp64, the scan equals transformers' loop; half precision is computed in fp32 and therefore more accurate."""
    ids = torch.randint(3, 8, (2, 70), generator=torch.Generator().manual_seed(0))
    results, weights = [], mamba().to(kind).state_dict()
    for use, precision in ((True, kind), (False, kind), (False, torch.float64)):
        use_kernels(use)
        model = mamba().to(precision)
        model.load_state_dict(weights)
        out = model(ids, labels=ids, use_cache=False)
        out.loss.backward()
        results.append([out.logits.detach().double(), *(p.grad.double() for p in model.parameters())])
    errors = [[relative(one, true) for one, true in zip(side, results[2], strict=True)] for side in results[:2]]
    if kind == torch.float64:
        assert max(errors[0]) < 1e-6
    else:
        assert sum(errors[0]) <= 1.1 * sum(errors[1])


def test_compiled_models_use_the_loop_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert over(lambda *_, **__: "plain")(*(torch.ones(1, 1, 1) for _ in range(5))) == "plain"


def test_with_mamba_ssm_a_cpu_keeps_the_compiled_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels of mamba-ssm run on CUDA only, but transformers would call them on every device."""
    from transformers.models.mamba import modeling_mamba

    def find_spec(name: str) -> object:
        return object() if name in ("mamba_ssm", "causal_conv1d") else importlib.util.find_spec(name)

    def fused_over(function: Callable) -> Callable:
        """Wrap torch's function in that of the package, as transformers does."""
        return functools.wraps(function)(lambda *_, **__: "fused")

    use_kernels(False)
    expected = mamba()(ids := torch.randint(3, 8, (2, 9))).logits
    monkeypatch.setattr(kernels, "find_spec", find_spec)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in kernels.CUDA_FUNCTIONS:
        monkeypatch.setitem(kernels.ORIGINALS, name, fused_over(kernels.ORIGINALS[name]))
    assert use_kernels(True)
    assert relative(mamba()(ids).logits, expected) < CLOSE
    for name in kernels.CUDA_FUNCTIONS:
        weight = SimpleNamespace(shape=(32, 4))
        assert getattr(modeling_mamba, name)(SimpleNamespace(is_cuda=True), weight, weight) == "fused"
    monkeypatch.undo()
    use_kernels(False)
    assert relative(mamba()(ids).logits, expected) == 0


def test_missing_packages_are_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(
        kernels, "find_spec", lambda name: None if name == "mamba_ssm" else importlib.util.find_spec("numba")
    )
    kernels.log_missing_packages.cache_clear()
    with caplog.at_level(logging.INFO, logger="hf_ruleextrap.kernels"):
        for use in (False, True, True):
            use_kernels(use)
    messages = [record.getMessage() for record in caplog.records if record.name == "hf_ruleextrap.kernels"]
    assert messages == [
        "not installed, so computed in other ways with equal results: mamba_ssm (pip install 'hf-ruleextrap[mamba]')"
    ]


def test_nan_propagates_through_the_scan() -> None:
    x = torch.tensor([[[1.0, float("nan"), 1.0]]])
    one = torch.ones(1, 3, 1)
    y, last = selective_scan(x, torch.ones(1, 1, 3), -torch.ones(1, 1), one, one)
    assert y.isnan().tolist() == [[[False, True, True]]]
    assert last.isnan().all()


def test_building_a_model_prints_no_warning_and_the_environment_disables_kernels() -> None:
    code = (
        "import sys, torch; from hf_ruleextrap import build_model; from hf_ruleextrap.kernels import kernels_found;"
        "m = build_model('mamba', language='anbn'); assert 'numba' not in sys.modules, 'imported before its use';"
        "m(torch.tensor([[1, 3, 4]])); print(kernels_found()['mamba'])"
    )
    for value, expected in (("1", "compiled scan"), ("0", "transformers' loop")):
        process = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", "-c", code],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "HF_RULEEXTRAP_KERNELS": value},
            check=True,
        )
        assert process.stdout.startswith(expected)
        if value == "1":
            assert "falling back" not in process.stderr
    assert set(kernels_found()) == {"mamba", "xlstm"}
