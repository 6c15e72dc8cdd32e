"""What every architecture here shares: configuration, causal-LM head, padding masks.

This file travels with each checkpoint as remote code, so it imports nothing of the package.
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
# Arguments of other models that would change the output, or add to it, if they were not passed over; `generate` passes
# on many that do not.
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
    """What every architecture's configuration has; the special ids are the character tokenizer's.

    A subclass adds its fields, names those to be checked in ``size_fields`` and ``probability_fields``, and
    extends `check` with what only it knows.

    Attributes:
        vocab_size: number of tokens, the special ones included.
        pad_token_id: id of ``<pad>``.
        bos_token_id: id of ``<bos>``.
        eos_token_id: id of ``<eos>``.
        use_cache: return the state or the keys and values unless a call says otherwise.
        tie_word_embeddings: let the output layer use the embedding matrix.

    Raises:
        ValueError: a value that cannot be built, in one line.
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
        """Set the fields, then refuse what cannot be built."""
        super().__post_init__(**kwargs)
        self.check()

    @property
    def looks_ahead(self) -> bool:
        """Whether an output is meant to depend on later inputs."""
        return False

    @property
    def most_tokens(self) -> int | None:
        """The longest sequence that there are positions for; None for any."""
        return None

    def check(self) -> None:
        """Raise ValueError, in one line, for a value from which no model can be built."""
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
    """Which columns hold tokens rather than padding.

    Args:
        attention_mask: (B, columns), of any type, 1 for a token and 0 for padding; None for no padding.
        batch: number of rows.
        columns: all columns, those in the cache included.

    Returns:
        (B, columns) bool, or None when nothing is padded, so that the caller can take the plain path.

    Raises:
        ValueError: the mask has another shape, or holds other values than 0 and 1.
    """
    if attention_mask is None:
        return None
    if attention_mask.shape != (batch, columns):
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}: give ({batch}, {columns}), "
            "one number for each token, those already in the cache included"
        )
    real = attention_mask.bool()
    if bool(real.all()) and not bool((attention_mask != 1).any()):
        return None
    if not bool((attention_mask == real).all()):
        raise ValueError("attention_mask holds other values than 0 and 1: give 1 for a token and 0 for padding")
    return real


def token_positions(real: Tensor | None, columns: int, device: torch.device) -> Tensor:
    """The number of tokens before each column in its row.

    Args:
        real: (B, columns) bool, of `real_tokens`.
        columns: all columns, those in the cache included.
        device: of the result.

    Returns:
        (B or 1, columns) int64, 0 at the first token and at the padding before it.
    """
    if real is None:
        return torch.arange(columns, device=device)[None]
    return (real.long().cumsum(dim=1) - 1).clamp(min=0)


def check_position_ids(position_ids: Tensor | None, real: Tensor | None, batch: int, columns: int, length: int) -> None:
    """Refuse positions that are not those of one word in each row.

    Positions that start again within a row say that several words are packed into it, and the later ones would see
    the earlier ones.

    Args:
        position_ids: (B or 1, length), or None.
        real: (B, columns) bool, of `real_tokens`.
        batch: number of rows.
        columns: all columns, those in the cache included.
        length: the last columns, which are those of the input.

    Raises:
        ValueError: the positions are others than the number of tokens before each one.
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
    """Refuse an argument that a model would otherwise pass over in silence.

    Args:
        arguments: what `forward` got beside the arguments that it names.

    Raises:
        ValueError: one of them asks for something.
    """
    for name in _REFUSED:
        if arguments.get(name) is not None and arguments[name] is not False:
            raise ValueError(f"{name} is not supported by this architecture: leave it out")


class RulePreTrainedModel(PreTrainedModel):
    """The parent of every backbone and head.

    Weights start as torch starts them (the authors' code does no more), not from the normal distribution
    of width 0.02 that transformers has by default.
    """

    config_class = RuleConfig
    base_model_prefix = "model"

    def __init__(self, config: RuleConfig) -> None:
        # A field may have been set after the configuration was made.
        config.check()
        super().__init__(config)

    @classmethod
    def is_custom_code(cls) -> bool:
        """No: else transformers would pass over modules without parameters of their own, which start their parts'."""
        return False

    def _init_weights(self, module: nn.Module) -> None:
        # transformers guards the functions of torch.nn.init here, so what was loaded is left alone.
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As in transformers; a causal LM's checkpoint also says where `AutoModel` finds the backbone."""
        backbone = type(self.base_model)
        if self._auto_class is not None:
            auto_map = dict(getattr(self.config, "auto_map", None) or {})
            auto_map["AutoModel"] = f"{backbone.__module__.rsplit('.', 1)[-1]}.{backbone.__name__}"
            self.config.auto_map = auto_map
        super().save_pretrained(save_directory, *args, **kwargs)

    def embed_inputs(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        """(B, T, E) float, the embeddings of the ids or those given.

        Raises:
            ValueError: both or neither are given, or there is no column.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        embeds = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        if embeds.shape[1] == 0:
            raise ValueError("the input has no tokens: a prompt holds at least <bos>")
        return embeds


class RuleForCausalLM(RulePreTrainedModel, GenerationMixin):
    """A backbone and a linear output layer; a concrete architecture names ``config_class`` and ``backbone``.

    Attributes:
        backbone: class of the backbone, built from the configuration; it returns ``last_hidden_state``
            (B, T, ``hidden_size``) and ``past_key_values``.
        head_bias: whether the output layer has a bias.

    A backbone whose cache is a `RecurrentCache` also sets ``_is_stateful = True``. A concrete architecture names
    `GenerationMixin` among its own parents: loaded as remote code, transformers would otherwise put a copy in the place
    of the class, and what is pickled has to be found under its name.
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
        """The module that maps (B, T, hidden_size) to logits (B, T, vocab_size)."""
        return nn.Linear(config.hidden_size, config.vocab_size, bias=self.head_bias)

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        # Else generate would hand a recurrent model a cache for keys and values.
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
        """As in transformers, but quick where a cache lacks the last token only: theirs costs a small model's step."""
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        plain = inputs_embeds is None and not kwargs.get("output_hidden_states")
        if not plain or seen < 1 or seen != input_ids.shape[1] - 1:
            # Theirs is typed for a protocol and for tensors of their own.
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
            attention_mask: (B, P + T), 1 for a token and 0 for padding, P columns being in the cache.
            past_key_values: the cache of an earlier output; updated in place.
            inputs_embeds: (B, T, E) float, instead of ``input_ids``.
            labels: (B, T) int64, the ids themselves (the shift happens here); -100 is not counted.
            use_cache: return the cache; by default what the configuration says.
            logits_to_keep: compute the logits of this many last positions only, or of the positions given; 0 for all.
            output_hidden_states: return the hidden states; by default what the configuration says.
            **kwargs: arguments of the loss, e.g. ``num_items_in_batch``; and ``position_ids``, (B or 1, T) int64, which
                may only be the number of tokens before each one in its row, and are known without being given.

        Returns:
            ``logits`` (B, T, vocab_size); ``loss``, the mean cross-entropy in nats, where there are labels;
            ``past_key_values`` and ``hidden_states`` where asked for. The hidden states are what enters the first
            layer and the output of each layer, the last one as the output layer reads it.

        Raises:
            ValueError: an argument has another shape, or asks for something that this architecture does not have.
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
        # slice(-0, None) is everything.
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(hidden[:, kept])
        loss = None
        if labels is not None:
            of_loss = {name: kwargs[name] for name in _LOSS_ARGUMENTS if name in kwargs}
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **of_loss)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )
