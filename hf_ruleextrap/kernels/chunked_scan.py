"""The selective scan of Mamba in plain torch, for any device. A sequence of T tokens takes about 2 sqrt(T) steps.

    h[t] = a[t] h[t - 1] + u[t]

The sequence is cut into chunks. All chunks are scanned in parallel, each from a state of zeros. Then the last state of
each chunk is passed to the next chunk, and its contribution is added to the states there. The scan divides by nothing
and multiplies by no factor above 1, so that strong decay causes no overflow. The gradient is the same scan in the other
direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, silu, softplus


def _scan(a: Tensor, u: Tensor) -> Tensor:
    """Return all states (..., T, N) from the decays ``a`` and the inputs ``u``, both (..., T, N)."""
    length = a.shape[-2]
    chunk = math.isqrt(length - 1) + 1
    missing = -length % chunk
    # Time is the first dimension, so that each step reads adjacent memory.
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
        # State t contributes to state t + 1 by the decay of step t + 1.
        later = pad(a[..., 1:, :], (0, 0, 0, 1))
        grad_u = _scan(later.flip(-2), grads[0].flip(-2)).flip(-2)
        return grad_u * pad(states[..., :-1, :], (0, 0, 1, 0)), grad_u


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Scan as `hf_ruleextrap.kernels.sequential_scan.selective_scan` does, but on any device, in fp32 or fp64."""
    steps = dt[..., None]
    states = _States.apply(torch.exp(steps * a[:, None]), steps * x[..., None] * b[:, None])
    return torch.einsum("bdtn,btn->bdt", states, c), states[:, :, -1]


def over(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return a replacement of ``plain``, which is ``mamba_selective_scan`` of transformers.

    The replacement runs the compiled loop on a CPU in fp32, and the scan of this module otherwise. Half precision is
    computed in fp32. Under `torch.compile`, the replacement calls ``plain``.
    """

    def scan(
        hidden_states: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
        **rest: Any,
    ) -> Any:
        tensors = [tensor for tensor in (hidden_states, dt, A, B, C, D, z, delta_bias) if tensor is not None]
        if torch.compiler.is_compiling():
            return plain(hidden_states, dt, A, B, C, D, z, delta_bias, delta_softplus, return_last_state, **rest)
        # Rounding the state to half precision at each step would lose too much precision.
        kind = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
        compiled = kind == torch.float32 and all(tensor.device.type == "cpu" for tensor in tensors)
        steps = dt.to(kind) if delta_bias is None else dt.to(kind) + delta_bias[..., None]
        if compiled:
            # numba is imported by the first model that needs the compiled loop, because the import takes a second.
            from .sequential_scan import selective_scan as run
        else:
            run = selective_scan
        y, last = run(
            hidden_states.to(kind),
            softplus(steps) if delta_softplus else steps,
            A.to(kind),
            B.transpose(1, 2).to(kind),
            C.transpose(1, 2).to(kind),
        )
        y = y.to(hidden_states.dtype)
        if D is not None:
            y = y + hidden_states * D[:, None]
        if z is not None:
            y = y * silu(z)
        return (y, last) if return_last_state else y

    return scan
