"""The xLSTM with mLSTM and sLSTM blocks, as in the package ``xlstm``.

Source: Beck et al., xLSTM: Extended Long Short-Term Memory, NeurIPS 2024, arXiv 2405.04517. The modules and the
parameters are those of that package's ``xLSTMLMModel``; `package_name` maps their names. The computation goes over the
sequence in chunks, from one state to the next, so that the same code trains, reads a prompt and adds one token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers import GenerationMixin
from transformers import initialization as init

from .base import RuleConfig, RuleForCausalLM, RulePreTrainedModel
from .recurrent import RecurrentBackbone, States
from .xlstm_cells import (
    NOTHING,
    BlockLinear,
    CausalConv,
    FeedForward,
    MatrixCell,
    Norm,
    ScalarCell,
    exact_dtype,
    next_scalar,
    small_init,
)


class RuleXLSTMConfig(RuleConfig):
    """The configuration of the xLSTM. The defaults are the paper's.

    Attributes:
        hidden_size: The width of the residual stream.
        num_hidden_layers: The number of blocks.
        slstm_at: The blocks, counted from 0, that are sLSTM blocks; the others are mLSTM blocks.
        num_attention_heads: The number of heads of every cell, which divides ``hidden_size`` and ``inner_size``.
        conv_kernel: The width of the causal convolution before the input and forget gates of an sLSTM, or before the
            queries and keys of an mLSTM.
        qkv_block_size: The width of the diagonal blocks of the mLSTM's matrices for queries, keys and values.
        proj_factor: The mLSTM's inner width divided by ``hidden_size``, before rounding.
        ff_proj_factor: The inner width of the feed-forward layer after an sLSTM divided by ``hidden_size``, before
            rounding.
        proj_multiple: Both inner widths are rounded up to a multiple of this number.
        dropout: The dropout rate of the output of each mLSTM layer and of each sLSTM cell.
        chunk_size: The number of tokens that an mLSTM computes in parallel, which affects the speed but not the result.
    """

    model_type = "ruleextrap_xlstm"
    size_fields: ClassVar[tuple[str, ...]] = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "conv_kernel",
        "qkv_block_size",
        "proj_multiple",
        "chunk_size",
    )
    probability_fields: ClassVar[tuple[str, ...]] = ("dropout",)

    hidden_size: int = 64
    num_hidden_layers: int = 6
    slstm_at: list[int] | tuple[int, ...] = (1,)
    num_attention_heads: int = 4
    conv_kernel: int = 4
    qkv_block_size: int = 4
    proj_factor: float = 2.0
    ff_proj_factor: float = 1.3
    proj_multiple: int = 64
    dropout: float = 0.0
    chunk_size: int = 32

    def check(self) -> None:
        """Raise ValueError, with a message of one line, for a value from which no model can be built."""
        super().check()
        blocks = range(self.num_hidden_layers)
        if not isinstance(self.slstm_at, (list, tuple)) or not set(self.slstm_at) <= set(blocks):
            raise ValueError(f"slstm_at is {self.slstm_at!r}: give a list of numbers from 0 to {blocks[-1]}")
        for name in ("proj_factor", "ff_proj_factor"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
                raise ValueError(f"{name} is {value!r}: give a number above 0")
        for name, width in (("hidden_size", self.hidden_size), ("the mLSTM's inner width", self.inner_size)):
            if width % self.num_attention_heads:
                raise ValueError(
                    f"num_attention_heads {self.num_attention_heads} does not divide {name} {width}: give another"
                )
        if self.inner_size % self.qkv_block_size:
            raise ValueError(
                f"qkv_block_size {self.qkv_block_size} does not divide the mLSTM's inner width {self.inner_size}: "
                "give another"
            )

    def rounded_up(self, factor: float) -> int:
        """Return ``factor`` times ``hidden_size``, rounded up to a multiple of ``proj_multiple``."""
        return math.ceil(factor * self.hidden_size / self.proj_multiple) * self.proj_multiple

    @property
    def inner_size(self) -> int:
        """The width inside an mLSTM."""
        return self.rounded_up(self.proj_factor)


def package_name(name: str) -> str:
    """Return the name that the package ``xlstm`` gives to a parameter of `RuleXLSTMForCausalLM`.

    >>> package_name("model.blocks.0.xlstm.proj_up.weight")
    'xlstm_block_stack.blocks.0.xlstm.proj_up.weight'
    """
    name = name.replace("model.embed_tokens.", "token_embedding.")
    name = re.sub(r"^model\.", "xlstm_block_stack.", name)
    return re.sub(r"slstm_cell\.(recurrent_kernel|bias)$", r"slstm_cell._\1_", name)


class MatrixLayer(nn.Module):
    """The mLSTM's layer: a projection up, a convolution, the cell, an output gate, and a projection down.

    Its state consists of the last inputs of the convolution and the state of the cell.
    """

    def __init__(self, config: RuleXLSTMConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.inner_size
        self.width, self.blocks = width, config.num_hidden_layers
        self.proj_up = nn.Linear(width, 2 * inner, bias=False)
        blocks = inner // config.qkv_block_size
        self.q_proj, self.k_proj, self.v_proj = (BlockLinear(blocks, inner, width) for _ in range(3))
        self.conv1d = CausalConv(inner, config.conv_kernel)
        self.mlstm_cell = MatrixCell(inner, config.num_attention_heads, config.chunk_size)
        self.learnable_skip = nn.Parameter(torch.ones(inner))
        self.proj_down = nn.Linear(inner, width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def reset_parameters(self) -> None:
        """Initialize the weights as the package ``xlstm`` does."""
        small_init(self.proj_up.weight, self.width)
        init.normal_(self.proj_down.weight, mean=0.0, std=2 / self.blocks / math.sqrt(self.width))
        init.ones_(self.learnable_skip)

    def start(self, inputs: Tensor) -> States:
        """Return the state before the first token of ``inputs`` (B, T, hidden_size)."""
        inner = self.learnable_skip.shape[0]
        wide = inputs.new_zeros(len(inputs), self.conv1d.conv.kernel_size[0] - 1, inner)
        return wide, *self.mlstm_cell.start(inputs.new_empty(len(inputs), 0, inner))

    def forward(self, inputs: Tensor, state: States, lengths: Tensor | None) -> tuple[Tensor, States]:
        """Map (B, T, hidden_size) to (B, T, hidden_size), and return the state after the last token of each row."""
        up, gate = self.proj_up(inputs).chunk(2, dim=-1)
        convolved, before = self.conv1d(up, state[0], lengths)
        convolved = silu(convolved)
        queries, keys, values = self.q_proj(convolved), self.k_proj(convolved), self.v_proj(up)
        hidden, memory = self.mlstm_cell(queries, keys, values, state[1:], lengths)
        hidden = (hidden + self.learnable_skip * convolved) * silu(gate)
        return self.dropout(self.proj_down(hidden)), (before, *memory)


class ScalarLayer(nn.Module):
    """The sLSTM's layer: a convolution, gates, the cell and a norm.

    Its state consists of the last inputs of the convolution, (B, conv_kernel - 1, hidden_size), and of the cell's
    output, value, normalizer and logarithmic scale, each (B, hidden_size).
    """

    def __init__(self, config: RuleXLSTMConfig, block: int) -> None:
        super().__init__()
        width, heads, last = config.hidden_size, config.num_attention_heads, config.num_hidden_layers - 1
        self.conv1d = CausalConv(width, config.conv_kernel)
        self.fgate, self.igate, self.zgate, self.ogate = (BlockLinear(heads, width, width) for _ in range(4))
        self.slstm_cell = ScalarCell(width, heads, block / last if last else 0.0)
        self.group_norm = Norm(width, heads)
        self.dropout = nn.Dropout(config.dropout)

    def start(self, inputs: Tensor) -> States:
        """Return the state before the first token of ``inputs`` (B, T, hidden_size)."""
        batch, _, width = inputs.shape
        zeros = inputs.new_zeros(batch, width)
        scale = torch.full((batch, width), NOTHING, dtype=exact_dtype(inputs), device=inputs.device)
        return inputs.new_zeros(batch, self.conv1d.conv.kernel_size[0] - 1, width), zeros, zeros, zeros, scale

    def forward(self, inputs: Tensor, state: States, lengths: Tensor | None) -> tuple[Tensor, States]:
        """Map (B, T, hidden_size) to (B, T, hidden_size), and return the state after the last token of each row."""
        convolved, before = self.conv1d(inputs, state[0], lengths)
        # In the package, too, fgate feeds the input gate and igate feeds the forget gate.
        activated = silu(convolved)
        gates = torch.cat(
            [self.fgate(activated), self.igate(activated), self.zgate(inputs), self.ogate(inputs)], dim=-1
        )
        gates = gates + self.slstm_cell.bias
        recurrent, outputs = self.slstm_cell.dense, []
        step: States = state[1:]
        for t, drive in enumerate(gates.unbind(dim=1)):
            following = next_scalar(drive, recurrent, step)
            if lengths is not None:
                inside = (t < lengths)[:, None]
                following = tuple(new.where(inside, old) for new, old in zip(following, step, strict=True))
            step = following
            outputs.append(step[0])
        hidden = self.dropout(torch.stack(outputs, dim=1))
        return self.group_norm(hidden), (before, *step)


class Block(nn.Module):
    """A norm and an mLSTM layer, or a norm and an sLSTM layer, then a norm and a feed-forward layer, with residuals."""

    def __init__(self, config: RuleXLSTMConfig, block: int) -> None:
        super().__init__()
        scalar = block in config.slstm_at
        self.xlstm_norm = Norm(config.hidden_size)
        self.xlstm = ScalarLayer(config, block) if scalar else MatrixLayer(config)
        self.ffn_norm = Norm(config.hidden_size) if scalar else None
        inner = config.rounded_up(config.ff_proj_factor)
        self.ffn = FeedForward(config.hidden_size, inner, config.num_hidden_layers) if scalar else None

    def forward(self, hidden: Tensor, state: States | None, lengths: Tensor | None) -> tuple[Tensor, States]:
        """Map (B, T, hidden_size) to (B, T, hidden_size), and return the new state; ``state`` is None at the start."""
        state = self.xlstm.start(hidden) if state is None else state
        added, state = self.xlstm(self.xlstm_norm(hidden), state, lengths)
        hidden = hidden + added
        if self.ffn is not None and self.ffn_norm is not None:
            hidden = hidden + self.ffn(self.ffn_norm(hidden))
        return hidden, state


class RuleXLSTMModel(RecurrentBackbone):
    """An embedding, blocks and a norm. The cache holds the state of each block, whose size does not grow."""

    config_class = RuleXLSTMConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: RuleXLSTMConfig) -> None:
        super().__init__(config)
        self.gradient_checkpointing = False
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, block) for block in range(config.num_hidden_layers))
        self.post_blocks_norm = Norm(config.hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        _init_weights(self, module)

    def run(
        self, inputs: Tensor, lengths: Tensor | None, states: Sequence[States], *, stateful: bool
    ) -> tuple[Tensor, list[States]]:
        """Run the model; see `RecurrentBackbone.run`. The width is hidden_size."""
        outputs, new = self.run_recorded(inputs, lengths, states, stateful=stateful)
        return outputs[-1], new

    def run_recorded(
        self, inputs: Tensor, lengths: Tensor | None, states: Sequence[States], *, stateful: bool
    ) -> tuple[list[Tensor], list[States]]:
        """Run the model; see `RecurrentBackbone.run_recorded`."""
        # Padding after a row's tokens changes no output before it, only the final state.
        lengths = lengths if stateful else None
        checkpointed = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        hidden, outputs, new = inputs, [], []
        for i, block in enumerate(self.blocks):
            arguments = hidden, states[i] if states else None, lengths
            call = self._gradient_checkpointing_func if checkpointed else _call
            hidden, state = call(block.__call__, *arguments)
            outputs.append(hidden)
            new.append(state)
        return [*outputs[:-1], self.post_blocks_norm(hidden)], new


def _call(block: Callable[..., tuple[Tensor, States]], *arguments: Any) -> tuple[Tensor, States]:
    return block(*arguments)


class RuleXLSTMForCausalLM(RuleForCausalLM, GenerationMixin):
    """The xLSTM with its output layer, which has no bias."""

    config_class = RuleXLSTMConfig
    backbone = RuleXLSTMModel
    head_bias = False
    supports_gradient_checkpointing = True
    _is_stateful = True

    def _init_weights(self, module: nn.Module) -> None:
        _init_weights(self, module)


def _init_weights(model: RulePreTrainedModel, module: nn.Module) -> None:
    """Initialize a module as the package ``xlstm`` does, or as torch does where the package leaves the defaults."""
    RulePreTrainedModel._init_weights(model, module)
    if isinstance(module, nn.Embedding) or module is getattr(model, "lm_head", None):
        small_init(module.weight, model.config.hidden_size)
