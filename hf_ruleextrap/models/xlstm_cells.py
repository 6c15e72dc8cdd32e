"""The cells of the mLSTM and the sLSTM, and the small modules of which the xLSTM's layers are built.

Source: Beck et al., xLSTM: Extended Long Short-Term Memory, NeurIPS 2024, arXiv 2405.04517. This file travels with each
checkpoint as remote code, so it imports nothing from the package except files that travel with it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, group_norm, layer_norm, logsigmoid
from transformers import initialization as init

from .recurrent import States

NOTHING = -1e30
"""The logarithm of the scale before the first token; finite, because a difference of infinities is not a number."""

_EPS = 1e-6


def exact_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype for logarithms of scales: at least float32."""
    return torch.promote_types(tensor.dtype, torch.float32)


def small_init(weight: Tensor, width: int) -> None:
    """Draw the weight from a normal distribution of variance 2 / (5 width)."""
    init.normal_(weight, mean=0.0, std=math.sqrt(2 / (5 * width)))


class Norm(nn.Module):
    """A layer norm without bias and with the weight 1 + w, over a whole vector or over the part of each head."""

    def __init__(self, width: int, heads: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.weight = nn.Parameter(torch.zeros(width))

    def reset_parameters(self) -> None:
        """Set the weight 1 + w to 1."""
        init.zeros_(self.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, width)."""
        weight = 1 + self.weight
        if self.heads is None:
            return layer_norm(hidden, weight.shape, weight)
        return group_norm(hidden.flatten(0, 1), self.heads, weight).view_as(hidden)


class BlockLinear(nn.Module):
    """A linear map whose matrix has blocks on its diagonal."""

    def __init__(self, blocks: int, width: int, init_width: int) -> None:
        super().__init__()
        self.init_width = init_width
        self.weight = nn.Parameter(torch.empty(blocks, width // blocks, width // blocks))

    def reset_parameters(self) -> None:
        """Draw small weights that fit the width of the residual stream."""
        small_init(self.weight, self.init_width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, width)."""
        return inputs @ block_diagonal(self.weight.transpose(1, 2))


def block_diagonal(blocks: Tensor) -> Tensor:
    """Return the matrix (N rows, N columns) with the blocks (N, rows, columns) on its diagonal."""
    n, rows, columns = blocks.shape
    eye = torch.eye(n, dtype=blocks.dtype, device=blocks.device)
    return (blocks[:, :, None] * eye[:, None, :, None]).reshape(n * rows, n * columns)


class CausalConv(nn.Module):
    """A causal convolution of each channel, computed as a sum over the shifts of the inputs."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, groups=width)

    def forward(self, inputs: Tensor, before: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Convolve inputs.

        Args:
            inputs: (B, T, width).
            before: (B, kernel - 1, width), the inputs before ``inputs``.
            lengths: (B,) int64, the number of tokens in each row; None for T.

        Returns:
            The outputs (B, T, width), and the last kernel - 1 inputs up to the last token of each row.
        """
        columns, kernel = inputs.shape[1], self.conv.kernel_size[0]
        padded = torch.cat([before, inputs], dim=1)
        weight, bias = self.conv.weight[:, 0], self.conv.bias
        assert bias is not None
        outputs = torch.addcmul(bias, padded[:, :columns], weight[:, 0])
        for k in range(1, kernel):
            outputs = torch.addcmul(outputs, padded[:, k : k + columns], weight[:, k])
        if lengths is None:
            return outputs, padded[:, columns:]
        index = lengths[:, None] + torch.arange(kernel - 1, device=inputs.device)
        return outputs, padded[torch.arange(len(padded), device=inputs.device)[:, None], index]


class MatrixCell(nn.Module):
    """The mLSTM's cell: a matrix memory with exponential gates."""

    def __init__(self, width: int, heads: int, chunk: int) -> None:
        super().__init__()
        self.heads, self.chunk = heads, chunk
        self.igate = nn.Linear(3 * width, heads)
        self.fgate = nn.Linear(3 * width, heads)
        self.outnorm = Norm(width, heads)

    def reset_parameters(self) -> None:
        """Start with gates that do not depend on the input; the forget gates' biases go from 3 to 6 over the heads."""
        init.zeros_(self.fgate.weight)
        init.copy_(self.fgate.bias, torch.linspace(3.0, 6.0, self.heads))
        init.zeros_(self.igate.weight)
        init.normal_(self.igate.bias, mean=0.0, std=0.1)

    def start(self, inputs: Tensor) -> States:
        """Return the state before the first token of ``inputs`` (B, T, width).

        Returns:
            The memory (B, heads, d, d), the normalizer (B, heads, d), and the logarithm of the scale of both
            (B, heads).
        """
        batch, _, width = inputs.shape
        size = width // self.heads
        scale = torch.full((batch, self.heads), NOTHING, dtype=exact_dtype(inputs), device=inputs.device)
        return inputs.new_zeros(batch, self.heads, size, size), inputs.new_zeros(batch, self.heads, size), scale

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, state: States, lengths: Tensor | None
    ) -> tuple[Tensor, States]:
        """Read and write a sequence.

        Args:
            queries: (B, T, width).
            keys: (B, T, width).
            values: (B, T, width).
            state: The state before the first token; see `start`.
            lengths: (B,) int64, the number of tokens in each row; None for T.

        Returns:
            The outputs (B, T, width), and the state after the last token of each row.
        """
        batch, columns, width = queries.shape
        together = torch.cat([queries, keys, values], dim=-1)
        enter, keep = (
            gate.to(exact_dtype(gate)).transpose(1, 2) for gate in (self.igate(together), self.fgate(together))
        )
        if lengths is not None:
            # A pad writes nothing and forgets nothing.
            inside = torch.arange(columns, device=queries.device) < lengths[:, None, None]
            enter, keep = (
                enter.where(inside, enter.new_tensor(NOTHING)),
                keep.where(inside, -keep.new_tensor(NOTHING)),
            )
        q, k, v = (part.view(batch, columns, self.heads, -1).transpose(1, 2) for part in (queries, keys, values))
        k = k / math.sqrt(width // self.heads)
        output, state = mlstm_chunks(q, k, v, enter, keep, state, chunk=self.chunk)
        return self.outnorm(output.transpose(1, 2).reshape(batch, columns, width)), state


def mlstm_chunks(
    q: Tensor, k: Tensor, v: Tensor, enter: Tensor, keep: Tensor, state: States, *, chunk: int
) -> tuple[Tensor, States]:
    """Read and write a whole sequence of the mLSTM, chunk by chunk.

    Args:
        q: (B, heads, T, d), the queries.
        k: (B, heads, T, d), the keys.
        v: (B, heads, T, d), the values.
        enter: (B, heads, T), the logarithms of the input gates.
        keep: (B, heads, T), the inputs of the forget gates' sigmoid.
        state: The state before the first token; see `MatrixCell.start`.
        chunk: The number of tokens in a chunk, which are computed in parallel.

    Returns:
        The outputs (B, heads, T, d), and the state after the last token.
    """
    log_keep = logsigmoid(keep)
    outputs = []
    for first in range(0, q.shape[2], chunk):
        part = slice(first, first + chunk)
        output, state = _read_and_write(
            q[:, :, part], k[:, :, part], v[:, :, part], enter[:, :, part], log_keep[:, :, part], state
        )
        outputs.append(output)
    return torch.cat(outputs, dim=2), state


def _read_and_write(
    q: Tensor, k: Tensor, v: Tensor, log_in: Tensor, log_keep: Tensor, state: States
) -> tuple[Tensor, States]:
    """Read and write one chunk of C tokens of the mLSTM (arXiv 2405.04517, appendix A.3).

    The largest exponent of each sum, its scale, is subtracted before the exponentials are computed. The scales cancel
    in the quotient, so no gradient goes through them.

    Args:
        q: (B, heads, C, d), the queries.
        k: (B, heads, C, d), the keys.
        v: (B, heads, C, d), the values.
        log_in: (B, heads, C), the logarithms of the input gates.
        log_keep: (B, heads, C), the logarithms of the forget gates.
        state: The state before the chunk; see `MatrixCell.start`.

    Returns:
        The outputs (B, heads, C, d), and the state after the chunk.
    """
    memory, normalizer, scale = state
    kept = log_keep.cumsum(dim=-1)
    # weights[t, s] is the logarithm of the weight at token t of the value that token s wrote.
    weights = kept[..., :, None] - kept[..., None, :] + log_in[..., None, :]
    ones = torch.ones(weights.shape[-2:], dtype=torch.bool, device=weights.device)
    weights = weights.masked_fill(ones.triu(1), -math.inf)
    earlier = kept + scale[..., None]
    with torch.no_grad():
        most = torch.maximum(weights.amax(dim=-1), earlier)
    from_state = (earlier - most).exp().to(q.dtype)
    mixed = (q @ k.transpose(-1, -2)) * (weights - most[..., None]).exp().to(q.dtype)
    total = mixed.sum(dim=-1) + from_state * (q @ normalizer[..., None])[..., 0]
    numerator = mixed @ v + from_state[..., None] * (q @ memory)
    output = numerator / (torch.maximum(total.abs(), (-most).exp().to(q.dtype)) + _EPS)[..., None]

    end, end_scale = weights[..., -1, :], most[..., -1]
    written = (end - end_scale[..., None]).exp().to(q.dtype)[..., None] * k
    left = from_state[..., -1, None]
    new_memory = left[..., None] * memory + written.transpose(-1, -2) @ v
    return output, (new_memory, left * normalizer + written.sum(dim=-2), end_scale)


class ScalarCell(nn.Module):
    """The sLSTM's parameters: the matrices from the last output to the gates, and the gates' bias."""

    def __init__(self, width: int, heads: int, depth: float) -> None:
        super().__init__()
        self.heads, self.depth = heads, depth
        self.recurrent_kernel = nn.Parameter(torch.empty(heads, 4 * width // heads, width // heads))
        self.bias = nn.Parameter(torch.empty(4 * width))

    def reset_parameters(self) -> None:
        """Start without recurrence, and with forget gates that follow a power law over the cells of each head."""
        init.zeros_(self.recurrent_kernel)
        size = self.recurrent_kernel.shape[-1]
        place = torch.arange(size) / max(size - 1, 1)
        keep = 5.0 - 12.0 * place ** (0.3 + 1.3 * self.depth)
        bias = torch.zeros(4, self.heads, size)
        bias[1] = keep
        init.copy_(self.bias, bias.flatten())

    @property
    def dense(self) -> Tensor:
        """The matrix (width, 4 width) from the last output to the four gates, for a product from the right."""
        heads, _, size = self.recurrent_kernel.shape
        blocks = self.recurrent_kernel.view(heads, 4, size, size).transpose(0, 1).transpose(2, 3)
        return torch.cat([block_diagonal(gate) for gate in blocks], dim=1)


def next_scalar(drive: Tensor, recurrent: Tensor, state: States) -> States:
    """Read one token of the sLSTM (arXiv 2405.04517, appendix A.2).

    The scale cancels in the output, so no gradient goes through it.

    Args:
        drive: (B, 4 width), the part of the gates' inputs that comes from the token.
        recurrent: (width, 4 width), the matrix from the last output to the gates.
        state: The output, the cell's value, the normalizer and the logarithmic scale, each (B, width).

    Returns:
        The new state.
    """
    output, cell, normalizer, scale = state
    log_in, forget, value, gate = torch.addmm(drive, output, recurrent).chunk(4, dim=-1)
    log_keep = logsigmoid(forget).to(scale.dtype) + scale
    with torch.no_grad():
        most = torch.maximum(log_in.to(scale.dtype), log_keep)
    write, keep = (log_in - most).exp().to(drive.dtype), (log_keep - most).exp().to(drive.dtype)
    cell, normalizer = keep * cell + write * value.tanh(), keep * normalizer + write
    return gate.sigmoid() * cell / normalizer, cell, normalizer, most


class FeedForward(nn.Module):
    """A gated feed-forward layer.

    Args:
        width: The width of the residual stream.
        inner: The width inside the layer.
        blocks: The number of blocks of the model, on which the initial values of the second matrix depend.
    """

    def __init__(self, width: int, inner: int, blocks: int) -> None:
        super().__init__()
        self.width, self.blocks = width, blocks
        self.proj_up = nn.Linear(width, 2 * inner, bias=False)
        self.proj_down = nn.Linear(inner, width, bias=False)

    def reset_parameters(self) -> None:
        """Initialize the weights as the package ``xlstm`` does."""
        small_init(self.proj_up.weight, self.width)
        init.normal_(self.proj_down.weight, mean=0.0, std=2 / self.blocks / math.sqrt(self.width))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, width)."""
        gate, up = self.proj_up(hidden).chunk(2, dim=-1)
        down: Tensor = self.proj_down(gelu(gate) * up)
        return down
