"""The sLSTM's cell, and the small modules of which the xLSTM's layers are built.

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
