"""The selective scan of Mamba in plain torch, for any device: a sequence of T steps in about 2 sqrt(T).

    h[t] = a[t] h[t - 1] + u[t]

The steps are cut into chunks. All chunks go through their steps at once, each from a state of zeros; then the state
goes from chunk to chunk, and what it brings is added. Nothing is divided, and no factor is above 1, so that no decay is
too strong. Going backward is the same scan in the other direction.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


def _scan(a: Tensor, u: Tensor) -> Tensor:
    """All states, (..., T, N), from (..., T, N) decays and inputs."""
    length = a.shape[-2]
    chunk = math.isqrt(length - 1) + 1
    missing = -length % chunk
    # Time first, so that a step is one piece of memory.
    decays, states = (
        pad(part, (0, 0, 0, missing)).unflatten(-2, (-1, chunk)).movedim((-2, -3), (0, 1)).contiguous()
        for part in (a, u)
    )
    for t in range(1, chunk):
        states[t].addcmul_(decays[t], states[t - 1])
        decays[t].mul_(decays[t - 1])
    last = states[-1, 0]
    for number in range(1, states.shape[1]):
        states[:, number].addcmul_(decays[:, number], last)
        last = states[-1, number]
    return states.movedim((0, 1), (-2, -3)).flatten(-3, -2)[..., :length, :]


class _States(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, u: Tensor) -> Tensor:
        states = _scan(a, u)
        ctx.save_for_backward(a, states)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, states = ctx.saved_tensors
        # What state t passes on is weighted by the decay of step t + 1.
        later = pad(a[..., 1:, :], (0, 0, 0, 1))
        grad_u = _scan(later.flip(-2), grads[0].flip(-2)).flip(-2)
        return grad_u * pad(states[..., :-1, :], (0, 0, 1, 0)), grad_u


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """As `hf_ruleextrap.kernels.sequential_scan.selective_scan`, on any device, in fp32 or fp64."""
    steps = dt[..., None]
    states = _States.apply(torch.exp(steps * a[:, None]), steps * x[..., None] * b[:, None])
    return torch.einsum("bdtn,btn->bdt", states, c), states[:, :, -1]
