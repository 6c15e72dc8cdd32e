"""The kernels of ``mlstm_kernels`` compute the same mLSTM as this package; the environment variable requires them.

The Triton kernel needs a GPU. All kernels of the package share an interface, so that the tests without a GPU use the
package's kernel in plain torch.
"""

from __future__ import annotations

import importlib.util
from functools import partial

import pytest
import torch
from torch import Tensor

from hf_ruleextrap import build_model
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.kernels import kernels_found, use_kernels
from hf_ruleextrap.kernels.mlstm import mlstm_by_kernel, over
from hf_ruleextrap.models import xlstm_cells

kernels = pytest.importorskip("mlstm_kernels.torch")
NATIVE = "chunkwise--native_autograd"


def inputs(columns: int, *, device: str = "cpu", seen: bool, d: int = 16) -> list[Tensor]:
    """Return queries, keys, values, gates and a state; ``seen`` is whether the state follows earlier tokens."""
    rng = torch.Generator().manual_seed(columns)
    shapes = [(2, 3, columns, d)] * 3 + [(2, 3, columns)] * 2 + [(2, 3, d, d), (2, 3, d), (2, 3)]
    tensors = [torch.randn(shape, generator=rng) for shape in shapes]
    if not seen:
        tensors[5:] = [torch.zeros(2, 3, d, d), torch.zeros(2, 3, d), torch.full((2, 3), -1e30)]
    return [tensor.to(device) for tensor in tensors]


def outcome(function: object, tensors: list[Tensor]) -> list[Tensor]:
    """Return the output of an implementation, the state, and the gradients of a weighted sum of the output."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors[:5]]
    output, state = function(*leaves, tuple(tensors[5:]), chunk=16)  # type: ignore[operator]
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.device)
    (output * weight).sum().backward()
    results = [output, *state, *(leaf.grad for leaf in leaves if leaf.grad is not None)]
    return [tensor.detach() for tensor in results]


def assert_same(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    assert len(ours) == len(theirs) == 9
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= tolerance * (1 + float(other.abs().max()))


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("columns", [2, 16, 37, 64])
def test_a_kernel_of_mlstm_kernels_computes_our_mlstm(columns: int, seen: bool) -> None:
    tensors = inputs(columns, seen=seen)
    by_kernel = partial(mlstm_by_kernel, kernels.get_mlstm_kernel(NATIVE))
    assert_same(outcome(by_kernel, tensors), outcome(xlstm_cells.mlstm_chunks, tensors), 1e-5)


def test_padded_rows_are_skipped_by_the_kernel_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model("xlstm", language="anbn", size="mini").eval()
    ids = torch.tensor([[1, 3, 3, 4, 4, 2], [0, 0, 1, 3, 4, 2]])
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    plain = model(**batch).logits
    calls = []

    def counted(*args: object, **kwargs: object) -> object:
        calls.append(1)
        return mlstm_by_kernel(kernels.get_mlstm_kernel(NATIVE), *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(xlstm_cells, "mlstm_chunks", counted)
    logits = model(**batch).logits
    assert calls
    torch.testing.assert_close(logits[batch["attention_mask"] == 1], plain[batch["attention_mask"] == 1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("columns", [2, 37, 64, 258])
def test_the_triton_kernel_computes_our_mlstm(columns: int) -> None:
    tensors = inputs(columns, device="cuda", seen=False, d=32)
    plain = xlstm_cells.mlstm_chunks
    # The kernel multiplies in TF32, which is exact to about three digits.
    assert_same(outcome(over(plain), tensors), outcome(plain, tensors), 5e-3)


def test_without_a_gpu_the_mlstm_is_computed_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    use_kernels(False)
    plain = xlstm_cells.mlstm_chunks
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    use_kernels(True)
    assert xlstm_cells.mlstm_chunks is plain
    assert kernels_found()["xlstm"] == "torch"


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("triton", "HF_RULEEXTRAP_KERNELS is 'triton': give 0, 1, numba, mamba_ssm, mlstm_kernels"),
        ("mamba_ssm", "mamba_ssm, which is not installed: pip install 'hf-ruleextrap[mamba]'"),
        ("mlstm_kernels", "which needs a CUDA device, and there is none"),
    ],
)
def test_an_unavailable_kernel_is_refused_in_one_line(package: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "hf_ruleextrap.kernels.find_spec", lambda name: None if name == "mamba_ssm" else find_spec(name), raising=True
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("HF_RULEEXTRAP_KERNELS", package)
    with pytest.raises(RuleExtrapError) as error:
        build_model("mamba", language="anbn")
    assert line in str(error.value)
    assert "\n" not in str(error.value)
