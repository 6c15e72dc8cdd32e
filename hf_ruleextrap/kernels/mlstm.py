"""The mLSTM on a GPU, computed by the Triton kernels of ``mlstm_kernels``, which the package ``xlstm`` installs."""

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
# The smallest width of a matrix that Triton multiplies.
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
    """Compute `hf_ruleextrap.models.xlstm_cells.mlstm_chunks` by a kernel of ``mlstm_kernels``.

    The kernel accepts only whole chunks, so the last chunk is filled with tokens that write nothing and forget nothing.
    The kernel divides the queries by sqrt(d), while this package has already divided the keys. Therefore the queries
    are multiplied by sqrt(d) first; a change of the keys would change the scale of the memory.

    Args:
        kernel: A kernel from ``mlstm_kernels.torch.get_mlstm_kernel``.
        q: (B, heads, T, d), the queries.
        k: (B, heads, T, d), the keys.
        v: (B, heads, T, d), the values.
        enter: (B, heads, T), the logarithms of the input gates.
        keep: (B, heads, T), the inputs of the forget gates' sigmoid.
        state: The memory (B, heads, d, d), the normalizer (B, heads, d), and the logarithm of the scale of both
            (B, heads).
        chunk: The number of tokens in a chunk, which are computed in parallel.

    Returns:
        The outputs (B, heads, T, d), and the state after the last token.
    """
    columns, size = q.shape[2:]
    missing = -columns % chunk
    q, k, v = (pad(part, (0, 0, 0, missing)) for part in (q * math.sqrt(size), k, v))
    memory, normalizer, scale = state
    output, (memory, normalizer, scale) = kernel(
        q=q,
        k=k,
        v=v,
        i=pad(enter, (0, missing), value=-_PAD_GATE),
        f=pad(keep, (0, missing), value=_PAD_GATE),
        c_initial=memory,
        n_initial=normalizer,
        m_initial=scale[..., None],
        return_last_states=True,
        eps=_EPS,
        chunk_size=chunk,
    )
    return output[:, :, :columns], (memory, normalizer, scale.reshape(scale.shape[:2]))


def over(plain: Chunks) -> Chunks:
    """Return a replacement of ``plain``, which is `hf_ruleextrap.models.xlstm_cells.mlstm_chunks`.

    The replacement calls the Triton kernel for float32 tensors on CUDA whose sizes the kernel supports, and ``plain``
    otherwise.
    """
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
    """Return whether Triton can multiply matrices of this width: a power of two of at least 16."""
    return size >= _SMALLEST and size.bit_count() == 1
