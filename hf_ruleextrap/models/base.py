"""The common parts of all architectures: the configuration, the causal-LM head, and padding masks.

This file travels with each checkpoint as remote code, so it imports nothing else from the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

_LOSS_ARGUMENTS = ("num_items_in_batch", "shift_labels", "ignore_index")
# Arguments of other models that would change the output or add to it. They must not be ignored silently, unlike many
# other arguments that `generate` passes on.
_REFUSED = (
    "output_attentions",
    "head_mask",
    "encoder_hidden_states",
    "encoder_attention_mask",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
    "seq_idx",
)


class RuleConfig(PreTrainedConfig):
    """The base configuration of all architectures. The special ids are those of the symbol tokenizer.

    A subclass adds its fields, lists the fields to check in ``size_fields`` and ``probability_fields``, and extends
    `check` with its own conditions.

    Attributes:
        vocab_size: The number of tokens, including the special tokens.
        pad_token_id: The id of ``<pad>``.
        bos_token_id: The id of ``<bos>``.
        eos_token_id: The id of ``<eos>``.
        use_cache: Whether a call returns the cache by default.
        tie_word_embeddings: Whether the output layer uses the embedding matrix.

    Raises:
        ValueError: If no model can be built from a value; the message is one line.
    """

    size_fields: ClassVar[tuple[str, ...]] = ()
    probability_fields: ClassVar[tuple[str, ...]] = ()
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    vocab_size: int = 5
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    use_cache: bool = True
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Set the fields, then check them."""
        super().__post_init__(**kwargs)
        self.check()

    @property
    def looks_ahead(self) -> bool:
        """Whether an output depends on later inputs by design."""
        return False

    @property
    def mixes_rows(self) -> bool:
        """Whether the output of a row depends on its place in the batch by design."""
        return False

    @property
    def most_tokens(self) -> int | None:
        """The largest number of tokens for which the model has positions; None if there is no limit."""
        return None

    def check(self) -> None:
        """Raise ValueError, with a message of one line, for a value from which no model can be built."""
        for name in ("vocab_size", *self.size_fields):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}: give an integer of at least 1")
        for name in self.probability_fields:
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
                raise ValueError(f"{name} is {value!r}: give a number between 0 and 1")
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            value = getattr(self, name)
            ids = value if isinstance(value, list) else [] if value is None else [value]
            if not all(isinstance(i, int) and 0 <= i < self.vocab_size for i in ids):
                raise ValueError(
                    f"{name} is {value!r}: give an id from 0 to {self.vocab_size - 1}, or a larger vocab_size"
                )

    def check_choice(self, name: str, allowed: Sequence[str]) -> None:
        """Raise ValueError if the field ``name`` is not one of the allowed words."""
        value = getattr(self, name)
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}: give one of {', '.join(allowed)}")


def real_tokens(attention_mask: Tensor | None, batch: int, columns: int) -> Tensor | None:
    """Return which columns hold tokens rather than padding.

    Args:
        attention_mask: (B, columns) of any type, 1 for a token and 0 for padding; None for no padding.
        batch: The number of rows.
        columns: The number of all columns, including the columns in the cache.

    Returns:
        (B, columns) bool; None if no row has padding, so that the caller can use the faster path.

    Raises:
        ValueError: If the mask has another shape, or contains values other than 0 and 1.
    """
    if attention_mask is None:
        return None
    if attention_mask.shape != (batch, columns):
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}: give ({batch}, {columns}), "
            "one number for each token, those already in the cache included"
        )
    real = attention_mask.bool()
    if attention_mask.dtype != torch.bool and not bool((attention_mask == real).all()):
        raise ValueError("attention_mask holds other values than 0 and 1: give 1 for a token and 0 for padding")
    return None if bool(real.all()) else real


def is_right_padded(real: Tensor) -> bool:
    """Return whether the padding of every row is after the row's tokens; ``real`` is the result of `real_tokens`."""
    return not bool((real[:, 1:] > real[:, :-1]).any())


def token_positions(real: Tensor | None, columns: int, device: torch.device) -> Tensor:
    """Return the number of tokens before each column in its row.

    Args:
        real: (B, columns) bool, the result of `real_tokens`.
        columns: The number of all columns, including the columns in the cache.
        device: The device of the result.

    Returns:
        (B or 1, columns) int64, 0 at the first token and at the padding before it.
    """
    if real is None:
        return torch.arange(columns, device=device)[None]
    return (real.long().cumsum(dim=1) - 1).clamp(min=0)


def check_position_ids(position_ids: Tensor | None, real: Tensor | None, batch: int, columns: int, length: int) -> None:
    """Raise an error for positions that do not belong to exactly one word in each row.

    Positions that restart within a row mean that several words are packed into the row, where the later words would
    see the earlier words.

    Args:
        position_ids: (B or 1, length), or None.
        real: (B, columns) bool, the result of `real_tokens`.
        batch: The number of rows.
        columns: The number of all columns, including the columns in the cache.
        length: The number of columns of the input, which are the last columns.

    Raises:
        ValueError: If a position is not the number of tokens before its token.
    """
    if position_ids is None:
        return
    expected = token_positions(real, columns, position_ids.device)[:, columns - length :]
    wrong = position_ids.ndim != 2 or position_ids.shape[1] != length or len(position_ids) not in (1, batch)
    if not wrong:
        differs = position_ids != expected
        wrong = bool((differs if real is None else differs & real[:, columns - length :]).any())
    if wrong:
        raise ValueError(
            "position_ids are not the number of tokens before each token in its row: packed rows are not supported; "
            "give one word in a row with its attention_mask, and leave position_ids out"
        )


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise an error for an argument that the model would otherwise ignore silently.

    Args:
        arguments: The keyword arguments of `forward` that are not in its signature.

    Raises:
        ValueError: If an unsupported argument is set.
    """
    for name in _REFUSED:
        if arguments.get(name) is not None and arguments[name] is not False:
            raise ValueError(f"{name} is not supported by this architecture: leave it out")


class RulePreTrainedModel(PreTrainedModel):
    """The base class of every backbone and head.

    The weights are initialized by torch's defaults, as in the authors' code, and not from the normal distribution of
    width 0.02 that is the default of transformers.
    """

    config_class = RuleConfig
    base_model_prefix = "model"

    def __init__(self, config: RuleConfig) -> None:
        # A field may have changed after the configuration was created.
        config.check()
        super().__init__(config)

    @classmethod
    def is_custom_code(cls) -> bool:
        """Return False, because in custom code transformers does not initialize modules without own parameters."""
        return False

    def _init_weights(self, module: nn.Module) -> None:
        # transformers guards the functions of torch.nn.init here, so that loaded weights stay unchanged.
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Save as transformers does; the checkpoint of a causal LM also states where `AutoModel` finds the backbone."""
        backbone = type(self.base_model)
        if self._auto_class is not None:
            auto_map = dict(getattr(self.config, "auto_map", None) or {})
            auto_map["AutoModel"] = f"{backbone.__module__.rsplit('.', 1)[-1]}.{backbone.__name__}"
            self.config.auto_map = auto_map
        super().save_pretrained(save_directory, *args, **kwargs)

    def embed_inputs(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        """Return the embeddings of the ids, or ``inputs_embeds`` itself: (B, T, E) float.

        Raises:
            ValueError: If both arguments or neither are set, or if the input has no column.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        embeds = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        if embeds.shape[1] == 0:
            raise ValueError("the input has no tokens: a prompt holds at least <bos>")
        return embeds


class RuleForCausalLM(RulePreTrainedModel, GenerationMixin):
    """A backbone and a linear output layer. A concrete architecture sets ``config_class`` and ``backbone``.

    Attributes:
        backbone: The class of the backbone, which is built from the configuration and returns ``last_hidden_state``
            (B, T, ``hidden_size``) and ``past_key_values``.
        head_bias: Whether the output layer has a bias.

    An architecture whose cache is a `RecurrentCache` also sets ``_is_stateful = True``. A concrete architecture lists
    `GenerationMixin` among its own base classes: otherwise transformers would replace a class that is loaded as remote
    code by a copy, and pickle could not find the class under its name.
    """

    backbone: ClassVar[type[RulePreTrainedModel]]
    head_bias: ClassVar[bool] = True
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012  # transformers reads a dict

    def __init__(self, config: RuleConfig) -> None:
        super().__init__(config)
        self.model = self.backbone(config)
        self.lm_head = self.build_head(config)
        self.post_init()

    def build_head(self, config: RuleConfig) -> nn.Module:
        """Build the module that maps (B, T, hidden_size) to logits (B, T, vocab_size)."""
        return nn.Linear(config.hidden_size, config.vocab_size, bias=self.head_bias)

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        # Otherwise `generate` would pass a cache of keys and values to a recurrent model.
        return not cls._is_stateful

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        past_key_values: Cache | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        is_first_iteration: bool | None = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Prepare inputs as transformers does; one new token takes a shorter path, which matters for small models."""
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        plain = inputs_embeds is None and not kwargs.get("output_hidden_states")
        if not plain or seen < 1 or seen != input_ids.shape[1] - 1:
            # The types in transformers name a protocol and tensor types of their own.
            prepare: Any = super().prepare_inputs_for_generation  # type: ignore[misc]
            inputs: dict[str, Any] = prepare(
                input_ids,
                next_sequence_length=next_sequence_length,
                past_key_values=past_key_values,
                attention_mask=attention_mask,
                inputs_embeds=inputs_embeds,
                is_first_iteration=is_first_iteration,
                **kwargs,
            )
            return inputs
        device = self.model.embed_tokens.weight.device
        return {
            "input_ids": input_ids[:, -1:].to(device),
            "attention_mask": None if attention_mask is None else attention_mask.to(device),
            "past_key_values": past_key_values,
            "use_cache": kwargs.get("use_cache"),
        }

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Predict the next token at every position.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, P + T), 1 for a token and 0 for padding, where P is the number of columns in the cache.
            past_key_values: The cache of an earlier output; the cache is updated in place.
            inputs_embeds: (B, T, E) float; an alternative to ``input_ids``.
            labels: (B, T) int64, the unshifted ids; the loss leaves out positions with -100.
            use_cache: Whether to return the cache; the default is in the configuration.
            logits_to_keep: The number of last positions, or the positions, whose logits are computed; 0 for all.
            output_hidden_states: Whether to return the hidden states; the default is in the configuration.
            **kwargs: Arguments of the loss, for example ``num_items_in_batch``; and the optional ``position_ids``,
                (B or 1, T) int64, which must be the number of tokens before each token in its row.

        Returns:
            ``logits`` (B, T, vocab_size); with labels, ``loss``, the mean cross-entropy in nats; and, if requested,
            ``past_key_values`` and ``hidden_states``. The hidden states are the input of the first layer and the
            output of each layer, of which the last is the input of the output layer.

        Raises:
            ValueError: If an argument has the wrong shape or is not supported by the architecture.
        """
        outputs: BaseModelOutputWithPast = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        assert hidden is not None
        # slice(-0, None) keeps all positions.
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(hidden[:, kept])
        loss = None
        if labels is not None:
            arguments = {name: kwargs[name] for name in _LOSS_ARGUMENTS if name in kwargs}
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **arguments)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )
