"""The common parts of recurrent architectures: the state as a cache, and rows of different lengths.

This file travels with each checkpoint as remote code, so it imports nothing else from the package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.generic import can_return_tuple

from .base import RulePreTrainedModel, check_arguments, check_position_ids, is_right_padded, real_tokens

States = tuple[Tensor, ...]


class RecurrentCache(Cache):
    """The state of a recurrent model as a cache that ``generate`` can pass on, reorder and repeat.

    Attributes:
        states: A tuple of tensors for each layer, with the batch as first dimension; empty before the first token. The
            architecture decides the meaning of the tensors.
        seen: The number of columns so far, including padding, as ``generate`` counts them.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.states: list[States] = []
        self.seen = 0

    @classmethod
    def of(cls, past_key_values: Cache | None) -> RecurrentCache:
        """Return the cache of an earlier call, or a new cache for None.

        Raises:
            ValueError: If the argument is another kind of cache.
        """
        if past_key_values is None:
            return cls()
        if not isinstance(past_key_values, cls):
            name = type(past_key_values).__name__
            raise ValueError(f"past_key_values is a {name}: give the RecurrentCache of an earlier output")
        return past_key_values

    def update_states(self, states: Sequence[States], columns: int) -> None:
        """Replace the state of every layer.

        Args:
            states: A tuple of (B, ...) tensors for each layer.
            columns: The number of columns between the old state and the new state.
        """
        self.states = [tuple(layer) for layer in states]
        self.seen += columns

    def _each(self, change: Callable[[Tensor], Tensor]) -> None:
        self.states = [tuple(change(tensor) for tensor in layer) for layer in self.states]

    def __len__(self) -> int:
        return len(self.states)

    def __repr__(self) -> str:
        return f"RecurrentCache(layers={len(self)}, seen={self.seen})"

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002  # the layers move together
        """Return the number of columns so far, including padding."""
        return self.seen

    def get_max_length(self, layer_idx: int | None = None) -> int:  # noqa: ARG002  # the layers are alike
        """Return -1 for no maximum, because the state does not grow."""
        return -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Replace the state of row i by the state of row ``beam_idx[i]`` (beam search)."""
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row ``repeats`` times; the copies are adjacent."""
        self._each(lambda tensor: tensor.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows ``indices``, in this order."""
        self._each(lambda tensor: tensor[indices.to(tensor.device)])

    def reset(self) -> None:
        """Remove the state."""
        self.states, self.seen = [], 0

    def crop(self, tokens_to_remove: int) -> None:
        """Raise an error, because earlier states cannot be recovered from a state.

        Raises:
            ValueError: If the number of tokens to remove is not 0.
        """
        if tokens_to_remove:
            raise ValueError("a recurrent state cannot be cropped: run the shorter prefix instead")

    @property
    def batch_size(self) -> int:
        """The number of rows, or -1 before the first token."""
        return self.states[0][0].shape[0] if self.states else -1

    @property
    def is_initialized(self) -> bool:
        """Whether the cache has a state."""
        return bool(self.states)

    @property
    def is_compileable(self) -> bool:
        """False, because the number of columns is a Python integer, which a compiled graph cannot update."""
        return False

    @property
    def is_croppable(self) -> bool:
        """False, because earlier states cannot be recovered from a state."""
        return False


def tokens_first(real: Tensor | None) -> Tensor | None:
    """Return the order of columns that moves the tokens of each row to its front.

    A model that supports padding only after the tokens then never reads a pad before a token.

    Args:
        real: (B, T) bool, the result of `real_tokens`, or None for no padding.

    Returns:
        (B, T) int64, in which the tokens keep their order; None if no token needs to move.
    """
    if real is None or is_right_padded(real):
        return None
    return real.int().argsort(dim=1, descending=True, stable=True)


def reordered(values: Tensor, order: Tensor) -> Tensor:
    """Return values (B, T, ...) whose columns are in the order (B, T)."""
    rows = torch.arange(len(order), device=order.device)[:, None] * order.shape[1]
    return values.flatten(0, 1).index_select(0, (rows + order).flatten()).view_as(values)


class RecurrentBackbone(RulePreTrainedModel):
    """A backbone with a recurrent state. A concrete backbone has ``embed_tokens`` and `run`."""

    _is_stateful = True

    def run(
        self, inputs: Tensor, lengths: Tensor | None, states: Sequence[States], *, stateful: bool
    ) -> tuple[Tensor, list[States]]:
        """Read the inputs, starting from ``states``.

        Args:
            inputs: (B, T, E) float, with the tokens of each row before its padding.
            lengths: (B,) int64, the number of tokens in each row; None for T. A row without tokens keeps its states.
            states: The initial state of each layer; empty before the first token.
            stateful: Whether the caller uses the new states. If not, padding may change them.

        Returns:
            The outputs (B, T, width), which are meaningless but finite at padding, and the states after the last
            token of each row.
        """
        raise NotImplementedError

    def run_recorded(
        self, inputs: Tensor, lengths: Tensor | None, states: Sequence[States], *, stateful: bool
    ) -> tuple[list[Tensor], list[States]]:
        """Run the model as `run` does, and return the output (B, T, width) of each layer; the last is that of `run`.

        An architecture with several layers overrides this method.
        """
        outputs, states = self.run(inputs, lengths, states, stateful=stateful)
        return [outputs], list(states)

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
        """Run the backbone; see `RuleForCausalLM.forward`. ``last_hidden_state`` is the output of `run`."""
        check_arguments(kwargs)
        embeds = self.embed_inputs(input_ids, inputs_embeds)
        cache = RecurrentCache.of(past_key_values)
        batch, columns = embeds.shape[:2]
        real = real_tokens(attention_mask, batch, cache.seen + columns)
        check_position_ids(kwargs.get("position_ids"), real, batch, cache.seen + columns, columns)
        if real is not None:
            real = real[:, cache.seen :]
            # Generation after left padding appends columns without padding.
            real = None if bool(real.all()) else real
        # Training needs no state, and transformers' own recurrent models return none then either.
        keep = (self.config.use_cache and not self.training) if use_cache is None else use_cache
        record = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        # The caller's cache is always updated, because it must match the tokens that the caller has passed.
        stateful = keep or past_key_values is not None

        lengths = None if real is None else real.sum(dim=1)
        order = tokens_first(real)
        inputs = embeds if order is None else reordered(embeds, order)
        if record:
            outputs, states = self.run_recorded(inputs, lengths, cache.states, stateful=stateful)
        else:
            output, states = self.run(inputs, lengths, cache.states, stateful=stateful)
            outputs = [output]
        if order is not None:
            back = order.argsort(dim=1)
            outputs = [reordered(output, back) for output in outputs]
        hidden = outputs[-1]
        if stateful:
            cache.update_states(states, columns)
        return BaseModelOutputWithPast(
            last_hidden_state=hidden,
            past_key_values=cache if keep else None,
            hidden_states=(embeds, *outputs) if record else None,
        )
