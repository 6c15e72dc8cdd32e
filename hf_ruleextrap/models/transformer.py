"""The decoder-only Transformer of the rule-extrapolation experiments.

Source: Mészáros et al., NeurIPS 2024, arXiv 2409.13728. The authors' code adds a vector that depends on the row's place
in the batch instead of the token's position. Here, the positional information is a choice: "paper" adds that vector,
and "none" is the same model without it.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention, softmax
from transformers import GenerationMixin
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.generic import can_return_tuple

from .base import (
    RuleConfig,
    RuleForCausalLM,
    RulePreTrainedModel,
    check_arguments,
    check_position_ids,
    is_right_padded,
    real_tokens,
    token_positions,
)

POSITIONS = ("none", "paper", "sinusoidal", "learned", "rotary", "alibi")
# The longest wavelength, over 2 pi, of sinusoidal and rotary positions.
WAVELENGTH = 10_000.0


class RuleTransformerConfig(RuleConfig):
    """The configuration of the Transformer. The defaults are the paper's.

    Attributes:
        hidden_size: The width of the residual stream.
        num_attention_heads: The number of heads, which divides ``hidden_size``.
        intermediate_size: The width of the feed-forward layers.
        num_hidden_layers: The number of layers.
        dropout: The dropout rate of the embeddings with their positions, and of the places where
            `torch.nn.TransformerEncoderLayer` has dropout: the attention weights, the feed-forward activations, and
            the outputs of both sublayers.
        layer_norm_eps: The number that each layer norm adds to the variance.
        norm_placement: "post" (the paper's) or "pre"; "pre" has one more norm after the last layer.
        positions: "none", "paper" (the sinusoidal vector of a row's index in the batch, added at all positions of that
            row, as in the authors' code: the output of a row then depends on its place in the batch), "sinusoidal"
            (added, Vaswani et al. 2017), "learned" (added), "rotary" (Su et al. 2021) or "alibi" (Press et al. 2022).
        mask_padding: Whether a call without an attention mask hides PAD from every other token, as in the authors'
            code. The mask changes the outputs at PAD only, so it matters if PAD is a target.
        max_position_embeddings: The number of learned positions; the other positions have no limit.
    """

    model_type = "ruleextrap_transformer"
    size_fields: ClassVar[tuple[str, ...]] = (
        "hidden_size",
        "num_attention_heads",
        "intermediate_size",
        "num_hidden_layers",
        "max_position_embeddings",
    )
    probability_fields: ClassVar[tuple[str, ...]] = ("dropout",)

    hidden_size: int = 10
    num_attention_heads: int = 5
    intermediate_size: int = 1024
    num_hidden_layers: int = 7
    dropout: float = 0.1
    layer_norm_eps: float = 6e-3
    norm_placement: str = "post"
    positions: str = "none"
    mask_padding: bool = False
    max_position_embeddings: int = 512

    @property
    def mixes_rows(self) -> bool:
        """Whether the model adds a vector of the row's place in the batch, as in the authors' code."""
        return self.positions == "paper"

    @property
    def most_tokens(self) -> int | None:
        """The number of learned positions; None for the other positions, which have no limit."""
        return self.max_position_embeddings if self.positions == "learned" else None

    def check(self) -> None:
        """Raise ValueError, with a message of one line, for a value from which no model can be built."""
        super().check()
        self.check_choice("norm_placement", ("post", "pre"))
        self.check_choice("positions", POSITIONS)
        eps = self.layer_norm_eps
        if not isinstance(eps, (int, float)) or isinstance(eps, bool) or not eps >= 0:
            raise ValueError(f"layer_norm_eps is {eps!r}: give a number of at least 0")
        width, heads = self.hidden_size, self.num_attention_heads
        if width % heads:
            divisors = ", ".join(str(n) for n in range(1, width + 1) if width % n == 0)
            raise ValueError(
                f"num_attention_heads {heads} does not divide hidden_size {width}: give one of {divisors}, "
                "or another hidden_size"
            )
        if self.positions == "rotary" and (width // heads) % 2:
            raise ValueError(
                f"rotary positions need heads of even width, and {width} / {heads} = {width // heads} is odd: "
                "give another hidden_size or num_attention_heads, or other positions"
            )


class Window(NamedTuple):
    """The tokens that each token may attend to, and the rotation of its queries and keys.

    Attributes:
        mask: The mask of `scaled_dot_product_attention`, (B or 1, heads or 1, T, S): bool, True for a visible token, or
            float, the number that is added to the score. None makes all tokens up to the token itself visible.
        causal: Whether `scaled_dot_product_attention` must hide later tokens; True only without a mask.
        rotation: The cosines and sines of rotary positions, (B or 1, 1, T, head width / 2); None for other positions.
    """

    mask: Tensor | None
    causal: bool
    rotation: tuple[Tensor, Tensor] | None


def angles(positions: Tensor, width: int) -> Tensor:
    """Return the product of positions and frequencies.

    Args:
        positions: (...) int64.
        width: The width of the vectors that carry the position.

    Returns:
        (..., ceil(width / 2)) float32, in radians.
    """
    exponents = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
    return positions[..., None].float() * WAVELENGTH**-exponents


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Return (..., width) float32, sines and cosines in turn (Vaswani et al. 2017, section 3.5)."""
    angle = angles(positions, width)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)[..., :width]


def rotate(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate each pair of components (i, i + half) of the heads (B, heads, T, width) by its angle."""
    cos, sin = (part.to(heads.dtype) for part in rotation)
    first, second = heads.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def alibi(queries: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Return the numbers that ALiBi adds to the scores: the distance times -2^(-8/heads), -2^(-16/heads), ..., -2^-8.

    Args:
        queries: (B, T) int64 positions.
        keys: (B, S) int64 positions.
        heads: The number of heads.

    Returns:
        (B, heads, T, S) float32.
    """
    slopes = 2.0 ** (-8.0 / heads * torch.arange(1, heads + 1, device=keys.device, dtype=torch.float32))
    distance = queries[:, None, :, None] - keys[:, None, None, :]
    return -slopes[:, None, None] * distance


def to_keep(like: Tensor, share: float) -> Tensor:
    """Return a random bool tensor of the shape of ``like``; each element is False with probability ``share``.

    On a CPU, torch draws a floating-point number for each element, which takes longer than all matrix products of this
    model. Here, 64 random bits decide two elements.
    """
    if like.device.type != "cpu":
        return torch.rand_like(like, dtype=torch.float32) >= share
    drawn = torch.empty((like.numel() + 1) // 2, dtype=torch.int64).random_(-(2**63), None)
    bits = drawn.view(torch.int32)[: like.numel()].view(like.shape)
    return bits >= min(round(share * 2**32) - 2**31, 2**31 - 1)


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with masks that are cheaper to draw."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Drop elements of a tensor of any shape."""
        if not self.training or self.p == 0:
            return hidden
        return hidden * to_keep(hidden, self.p) * self.scale

    @property
    def scale(self) -> float:
        """The factor of the elements that are kept; 0 if the rate is 1."""
        return 1 / (1 - self.p) if self.p < 1 else 0.0


class Attention(nn.Module):
    """Causal self-attention with one matrix for queries, keys and values."""

    def __init__(self, config: RuleTransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.heads = layer, config.num_attention_heads
        self.dropout = Dropout(config.dropout)
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, window: Window, cache: Cache | None) -> Tensor:
        """Attend from (B, T, hidden_size) to the tokens that the window and the cache show."""
        batch, length, width = hidden.shape
        split = self.qkv(hidden).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        if window.rotation is not None:
            queries, keys = rotate(queries, window.rotation), rotate(keys, window.rotation)
        if cache is not None:
            keys, values = cache.update(keys, values, self.layer)
        if self.training and self.dropout.p:
            mixed = self._with_dropout(queries, keys, values, window)
        else:
            mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=window.mask, is_causal=window.causal)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))

    def _with_dropout(self, queries: Tensor, keys: Tensor, values: Tensor, window: Window) -> Tensor:
        """Compute attention with `to_keep`, because torch's own dropout draws costly masks."""
        scores = (queries / math.sqrt(queries.shape[-1])) @ keys.transpose(-1, -2)
        if window.mask is None:
            if window.causal:
                scores = scores + torch.full_like(scores[0, 0], -math.inf).triu(1)
        elif window.mask.dtype == torch.bool:
            scores = scores.masked_fill(~window.mask, -math.inf)
        else:
            scores = scores + window.mask
        weights = softmax(scores, dim=-1)
        return (weights * to_keep(weights, self.dropout.p)) @ values * self.dropout.scale


class Layer(nn.Module):
    """Attention and feed-forward, with the arithmetic of `torch.nn.TransformerEncoderLayer`."""

    def __init__(self, config: RuleTransformerConfig, layer: int) -> None:
        super().__init__()
        self.pre = config.norm_placement == "pre"
        self.attention = Attention(config, layer)
        self.linear1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.linear2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, hidden: Tensor, window: Window, cache: Cache | None) -> Tensor:
        """Map (B, T, hidden_size) to (B, T, hidden_size)."""
        if self.pre:
            hidden = hidden + self.dropout(self.attention(self.norm1(hidden), window, cache))
            return hidden + self.dropout(self._feed_forward(self.norm2(hidden)))
        hidden = self.norm1(hidden + self.dropout(self.attention(hidden, window, cache)))
        return self.norm2(hidden + self.dropout(self._feed_forward(hidden)))

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        hidden = self.linear1(hidden)
        if not self.training or self.dropout.p == 0:
            return self.linear2(relu(hidden))
        # One mask serves ReLU and dropout, and the scale is applied in place, so that no wide tensor is stored twice.
        kept = hidden * ((hidden > 0) & to_keep(hidden, self.dropout.p))
        return self.linear2(kept.mul_(self.dropout.scale))


class RuleTransformerModel(RulePreTrainedModel):
    """An embedding times sqrt(hidden_size), positions, and layers. The cache is transformers' `DynamicCache`."""

    config_class = RuleTransformerConfig
    _supports_sdpa = True
    supports_gradient_checkpointing = True

    def __init__(self, config: RuleTransformerConfig) -> None:
        super().__init__(config)
        self.gradient_checkpointing = False
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        pre = config.norm_placement == "pre"
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if pre else nn.Identity()
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Run the backbone; see `RuleForCausalLM.forward`. ``last_hidden_state`` is (B, T, hidden_size).

        A token's position is the number of tokens, not columns, before it in its row.

        Raises:
            ValueError: If a row has more tokens than there are learned positions, or if the cache has a fixed length.
        """
        check_arguments(kwargs)
        embeds = self.embed_inputs(input_ids, inputs_embeds)
        keep = self.config.use_cache if use_cache is None else use_cache
        # The backward pass runs a checkpointed layer again, which would write to the cache again.
        checkpointed = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        if checkpointed and past_key_values is not None:
            raise ValueError("gradient checkpointing cannot go on from past_key_values in training: leave them out")
        keep = keep and not checkpointed
        cache = DynamicCache() if keep and past_key_values is None else past_key_values
        if cache is not None and cache.is_compileable:
            raise ValueError(f"past_key_values is a {type(cache).__name__}: give a DynamicCache, or none")
        past = 0 if cache is None else cache.get_seq_length()
        batch, length = embeds.shape[:2]
        if attention_mask is None and self.config.mask_padding and input_ids is not None and past == 0:
            attention_mask = input_ids != self.config.pad_token_id
        real = real_tokens(attention_mask, batch, past + length)
        check_position_ids(kwargs.get("position_ids"), real, batch, past + length, length)
        if real is not None and past == 0 and not self.config.mask_padding and is_right_padded(real):
            # No token attends to the padding after it.
            real = None
        positions = token_positions(real, past + length, embeds.device)
        hidden = self.dropout(self._place(embeds * math.sqrt(self.config.hidden_size), positions[:, past:]))
        window = self._window(real, positions, past, hidden.dtype)
        record = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        states = [hidden]
        for layer in self.layers:
            if checkpointed:
                hidden = self._gradient_checkpointing_func(layer.__call__, hidden, window, cache)
            else:
                hidden = layer(hidden, window, cache)
            states.append(hidden)
        hidden = self.norm(hidden)
        return BaseModelOutputWithPast(
            last_hidden_state=hidden,
            past_key_values=cache if keep else None,
            hidden_states=(*states[:-1], hidden) if record else None,
        )

    def _place(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """Add the vectors of the positions (B or 1, T) to the embeddings (B, T, hidden_size), if there are any."""
        if self.config.positions == "paper":
            rows = torch.arange(len(hidden), device=hidden.device)[:, None]
            return hidden + sinusoids(rows, self.config.hidden_size).to(hidden.dtype)
        if self.config.positions == "sinusoidal":
            return hidden + sinusoids(positions, self.config.hidden_size).to(hidden.dtype)
        if self.config.positions == "learned":
            limit = self.config.max_position_embeddings
            if (tokens := int(positions.max()) + 1) > limit:
                raise ValueError(
                    f"a sequence of {tokens} tokens is longer than the {limit} learned positions: "
                    "shorten it, or build the model with a larger max_position_embeddings"
                )
            return hidden + self.embed_positions(positions)
        return hidden

    def _window(self, real: Tensor | None, positions: Tensor, past: int, dtype: torch.dtype) -> Window:
        """Return the window of the columns after the first ``past`` columns, which are in the cache."""
        kind, heads = self.config.positions, self.config.num_attention_heads
        columns = positions.shape[1]
        rotation = None
        if kind == "rotary":
            angle = angles(positions[:, None, past:], self.config.hidden_size // heads)
            rotation = angle.cos(), angle.sin()
        if real is None and kind != "alibi" and (past == 0 or columns == past + 1):
            return Window(None, causal=past == 0, rotation=rotation)
        index = torch.arange(columns, device=positions.device)
        seen = (index[past:, None] >= index)[None, None]
        if real is not None:
            seen = seen & real[:, None, None, :]
            # A pad that sees no token sees itself, because older torch returns NaN for an empty row.
            seen = seen | (~seen.any(dim=-1, keepdim=True) & (index[past:, None] == index))
        if kind != "alibi":
            return Window(seen, causal=False, rotation=rotation)
        bias = alibi(positions[:, past:], positions, heads).to(dtype)
        return Window(bias.masked_fill(~seen, float("-inf")), causal=False, rotation=None)


class RuleTransformerForCausalLM(RuleForCausalLM, GenerationMixin):
    """The Transformer with its output layer."""

    config_class = RuleTransformerConfig
    backbone = RuleTransformerModel
    _supports_sdpa = True
    supports_gradient_checkpointing = True
