"""Every architecture gives the same logits, gradients and completions on a GPU as on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import PreTrainedModel

from hf_ruleextrap.architectures import build_model, get_preset, list_architectures
from hf_ruleextrap.kernels import use_kernels

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

EVERY = [(name, size) for name in list_architectures() for size in get_preset(name).sizes]
# Matrix products sum in another order on a GPU.
CLOSE = {"atol": 2e-4, "rtol": 2e-3}
BOS, EOS = 1, 2


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    """Turn TF32 off during a test, and restore the kernels afterwards."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    use_kernels()


@pytest.fixture(params=EVERY, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Return a model on the CPU and the same model on the GPU, in training mode and without dropout.

    cuDNN's LSTM computes gradients in training mode only.
    """
    name, size = request.param
    cpu_model, gpu_model = (build_model(name, vocab_size=6, size=size, seed=0) for _ in range(2))
    for model in (cpu_model, gpu_model):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    return cpu_model, gpu_model.to("cuda")


def tokens(rows: int, columns: int) -> torch.Tensor:
    ids = torch.randint(3, 6, (rows, columns), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = BOS
    return ids


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain"])
@pytest.mark.parametrize("columns", [9, 64])
def test_logits_and_gradients_are_those_of_the_cpu(
    pair: tuple[PreTrainedModel, PreTrainedModel], columns: int, kernels: bool
) -> None:
    cpu_model, gpu_model = pair
    ids = tokens(4, columns)
    use_kernels(False)
    on_cpu = cpu_model(ids, labels=ids, use_cache=False)
    on_cpu.loss.backward()
    use_kernels(kernels)
    on_gpu = gpu_model(ids.cuda(), labels=ids.cuda(), use_cache=False)
    on_gpu.loss.backward()
    torch.testing.assert_close(on_gpu.logits.cpu(), on_cpu.logits, **CLOSE)
    for (name, one), other in zip(cpu_model.named_parameters(), gpu_model.parameters(), strict=True):
        if one.grad is not None:
            assert other.grad is not None, name
            scale = float(one.grad.abs().max()) + 1e-3
            assert float((one.grad - other.grad.cpu()).abs().max()) <= 2e-3 * scale, name


def test_completions_are_those_of_the_cpu(pair: tuple[PreTrainedModel, PreTrainedModel]) -> None:
    cpu_model, gpu_model = (model.eval() for model in pair)
    ids = tokens(8, 5)
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": EOS, "pad_token_id": 0}
    on_cpu = cpu_model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
    on_gpu = gpu_model.generate(ids.cuda(), attention_mask=torch.ones_like(ids).cuda(), **settings).cpu()
    # Two tokens with equal logits may be chosen in either order, but most rows contain no tie.
    width = min(on_cpu.shape[1], on_gpu.shape[1])
    assert (on_cpu[:, :width] == on_gpu[:, :width]).all(dim=1).float().mean() >= 0.75


def test_bfloat16_gives_finite_losses_and_gradients(pair: tuple[PreTrainedModel, PreTrainedModel]) -> None:
    model = pair[1].train()
    ids = tokens(4, 32).cuda()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = model(ids, labels=ids, use_cache=False).loss
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
