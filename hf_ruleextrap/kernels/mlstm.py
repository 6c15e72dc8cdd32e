"""The mLSTM's sequence on a GPU by the kernels that come with the package ``xlstm`` (``mlstm_kernels``, Triton)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor
from torch.nn.functional import pad

States = tuple[Tensor, ...]
Chunks = Callable[..., tuple[Tensor, States]]

_KERNEL = "chunkwise--triton_xl_chunk"
# Triton multiplies no smaller matrices.
_SMALLEST = 16
_EPS = 1e-6
_PAD_GATE = 1e30


def mlstm_by_kernel(
    kernel: Callable[..., tuple[Tensor, States]],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    enter: Tensor,
    keep: Tensor,
    state: States,
    *,
    chunk: int,
) -> tuple[Tensor, States]:
    """What `hf_ruleextrap.models.xlstm.mlstm_chunks` computes, by a kernel of ``mlstm_kernels``.

    The kernel wants whole chunks, so the last one is filled up with tokens that write and forget nothing; and it takes
    1/sqrt(d) to belong to the queries, not the keys, which would change the memory.

    Args:
        kernel: one of ``mlstm_kernels.torch.get_mlstm_kernel``.
        q: (B, heads, T, d), queries.
        k: (B, heads, T, d), keys.
        v: (B, heads, T, d), values.
        enter: (B, heads, T), the input gates before their exp.
        keep: (B, heads, T), the forget gates before their sigmoid.
        state: memory (B, heads, d, d), normalizer (B, heads, d) and their logarithmic scale (B, heads).
        chunk: tokens computed in parallel.

    Returns:
        (B, heads, T, d), and the state after the last token.
    """
    columns, size = q.shape[2:]
    more = -columns % chunk
    q, k, v = (pad(part, (0, 0, 0, more)) for part in (q * math.sqrt(size), k, v))
    memory, normalizer, scale = state
    output, (memory, normalizer, scale) = kernel(
        q=q,
        k=k,
        v=v,
        i=pad(enter, (0, more), value=-_PAD_GATE),
        f=pad(keep, (0, more), value=_PAD_GATE),
        c_initial=memory,
        n_initial=normalizer,
        m_initial=scale[..., None],
        return_last_states=True,
        eps=_EPS,
        chunk_size=chunk,
    )
    return output[:, :, :columns], (memory, normalizer, scale.reshape(scale.shape[:2]))


def over(plain: Chunks) -> Chunks:
    """The plain way, but by the Triton kernel wherever that can run: float32 on CUDA, and sizes that it takes."""
    from mlstm_kernels.torch import get_mlstm_kernel

    kernel = get_mlstm_kernel(_KERNEL)

    @wraps(plain)
    def chunks(
        q: Tensor, k: Tensor, v: Tensor, enter: Tensor, keep: Tensor, state: States, *, chunk: int
    ) -> tuple[Tensor, States]:
        if q.is_cuda and q.dtype == torch.float32 and q.shape[2] > 1 and _fits(chunk) and _fits(q.shape[3]):
            return mlstm_by_kernel(kernel, q, k, v, enter, keep, state, chunk=chunk)
        return plain(q, k, v, enter, keep, state, chunk=chunk)

    return chunks


def _fits(size: int) -> bool:
    return size >= _SMALLEST and size.bit_count() == 1
