"""The selective scan of Mamba on a CPU, in one pass over the sequence that keeps the state in the processor's cache.

    h[t] = exp(dt[t] A) h[t - 1] + dt[t] B[t] x[t],    y[t] = sum over the state of C[t] h[t]

Source: Gu and Dao, Mamba, arXiv 2312.00752, algorithm 2. The forward pass stores only its inputs. The backward pass
computes the states of one channel after the other again.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_Array: TypeAlias = npt.NDArray[np.float32]
# The compiler may reorder sums, but may not assume that there is no NaN.
_FREE = {"reassoc", "contract", "arcp", "nsz"}

# exp(v) = 2^k exp(f) with |f| <= ln(2) / 2. ln(2) is the sum of two parts, and the first part times k is exact.
_LOG2_E = np.float32(1.4426950408889634)
_LN_2_HIGH, _LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_2, _3, _4, _5, _6 = (np.float32(1 / factorial) for factorial in (2, 6, 24, 120, 720))
_ONE, _HALF, _LEAST = np.float32(1), np.float32(0.5), np.float32(-87)


# Sums may not be reordered here, because that would merge the two parts of ln(2).
@numba.njit(fastmath={"contract"}, cache=True)
def _exp(v: np.float32) -> np.float32:
    """Return exp(v) for v of at most 0, with an error below 3e-7.

    The compiler vectorizes this function, which it cannot do with the library's exp.
    """
    # This form of the comparison keeps a NaN.
    v = _LEAST if v < _LEAST else v
    k = np.int32(v * _LOG2_E - _HALF)
    f = (v - np.float32(k) * _LN_2_HIGH) - np.float32(k) * _LN_2_LOW
    series = _ONE + f * (_ONE + f * (_2 + f * (_3 + f * (_4 + f * (_5 + f * _6)))))
    return series * np.int32((k + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(parallel=True, fastmath=_FREE, cache=True)
def _forward(x: _Array, dt: _Array, a: _Array, b: _Array, c: _Array, y: _Array, last: _Array) -> None:
    rows, channels, length = x.shape
    size = a.shape[1]
    for place in numba.prange(rows * channels):
        row, channel = place // channels, place % channels
        state = np.zeros(size, np.float32)
        for t in range(length):
            step = dt[row, channel, t]
            drive = step * x[row, channel, t]
            total = np.float32(0)
            for n in range(size):
                state[n] = _exp(step * a[channel, n]) * state[n] + drive * b[row, t, n]
                total += state[n] * c[row, t, n]
            y[row, channel, t] = total
        last[row, channel] = state


@numba.njit(parallel=True, fastmath=_FREE, cache=True)
def _backward(
    x: _Array,
    dt: _Array,
    a: _Array,
    b: _Array,
    c: _Array,
    grad_y: _Array,
    grad_last: _Array,
    grad_x: _Array,
    grad_dt: _Array,
    grad_a: _Array,
    grad_b: _Array,
    grad_c: _Array,
) -> None:
    rows, channels, length = x.shape
    size = a.shape[1]
    for row in numba.prange(rows):
        states = np.zeros((length + 1, size), np.float32)
        decays = np.empty((length, size), np.float32)
        grad = np.empty(size, np.float32)
        for channel in range(channels):
            for t in range(length):
                step = dt[row, channel, t]
                drive = step * x[row, channel, t]
                for n in range(size):
                    decays[t, n] = _exp(step * a[channel, n])
                    states[t + 1, n] = decays[t, n] * states[t, n] + drive * b[row, t, n]
            grad_state = grad_last[row, channel].copy()
            for back in range(length):
                t = length - 1 - back
                step, value, out = dt[row, channel, t], x[row, channel, t], grad_y[row, channel, t]
                for_input, for_step = np.float32(0), np.float32(0)
                # The compiler vectorizes these loops only if each loop reads few arrays.
                for n in range(size):
                    grad_c[row, t, n] += out * states[t + 1, n]
                for n in range(size):
                    grad[n] = grad_state[n] + out * c[row, t, n]
                for n in range(size):
                    for_input += grad[n] * b[row, t, n]
                    grad_b[row, t, n] += grad[n] * (step * value)
                for n in range(size):
                    grad_state[n] = grad[n] * decays[t, n]
                for n in range(size):
                    through = grad_state[n] * states[t, n]
                    for_step += through * a[channel, n]
                    grad_a[row, channel, n] += through * step
                grad_x[row, channel, t] = for_input * step
                grad_dt[row, channel, t] = for_step + for_input * value


def _as_many_threads_as_torch() -> None:
    """Let numba use as many threads as torch."""
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        x, dt, a, b, c = (tensor.detach().contiguous() for tensor in inputs)
        y, last = torch.empty_like(x), x.new_empty(*x.shape[:2], a.shape[1])
        _as_many_threads_as_torch()
        _forward(*(tensor.numpy() for tensor in (x, dt, a, b, c, y, last)))
        ctx.save_for_backward(x, dt, a, b, c)
        return y, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        x, dt, a, b, c = ctx.saved_tensors
        grad_x, grad_dt = torch.empty_like(x), torch.empty_like(dt)
        grad_a, grad_b, grad_c = x.new_zeros(len(x), *a.shape), torch.zeros_like(b), torch.zeros_like(c)
        _as_many_threads_as_torch()
        inputs = (x, dt, a, b, c, *(grad.contiguous() for grad in grads))
        outputs = (grad_x, grad_dt, grad_a, grad_b, grad_c)
        _backward(*(tensor.numpy() for tensor in (*inputs, *outputs)))
        return grad_x, grad_dt, grad_a.sum(0), grad_b, grad_c


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Scan a sequence from a state of zeros. All tensors are on the CPU.

    Args:
        x: (B, D, T) float32, the inputs of the D channels.
        dt: (B, D, T) float32, the step sizes, at least 0.
        a: (D, N) float32, the negative rates of decay of the N components of the state.
        b: (B, T, N) float32, the weights from the input to the state.
        c: (B, T, N) float32, the weights from the state to the output.

    Returns:
        The outputs y (B, D, T), and the last state (B, D, N).
    """
    y, last = _Scan.apply(x, dt, a, b, c)
    return y, last
