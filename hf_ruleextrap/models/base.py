"""What every architecture here shares: configuration, causal-LM head, padding masks.

This file travels with each checkpoint as remote code, so it imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple


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
        attention_mask: (B, columns), 1 for a token and 0 for padding; None for no padding.
        batch: number of rows.
        columns: all columns, those in the cache included.

    Returns:
        (B, columns) bool, or None when nothing is padded, so that the caller can take the plain path.

    Raises:
        ValueError: the mask has another shape.
    """
    if attention_mask is None:
        return None
    if attention_mask.shape != (batch, columns):
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}: give ({batch}, {columns}), "
            "one number for each token, those already in the cache included"
        )
    return None if bool(attention_mask.all()) else attention_mask.bool()


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

    A backbone whose cache is a `RecurrentCache` also sets ``_is_stateful = True``.
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

    def prepare_inputs_for_generation(self, input_ids: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As in transformers, but quick where a cache lacks the last token only: theirs costs a small model's step."""
        cache, mask = kwargs.get("past_key_values"), kwargs.get("attention_mask")
        seen = 0 if cache is None else cache.get_seq_length()
        if args or seen < 1 or seen != input_ids.shape[1] - 1 or kwargs.get("inputs_embeds") is not None:
            # Theirs is typed for a protocol of their own.
            inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)  # type: ignore[misc]
            return inputs
        device = self.model.embed_tokens.weight.device
        return {
            "input_ids": input_ids[:, -1:].to(device),
            "attention_mask": None if mask is None else mask.to(device),
            "past_key_values": cache,
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
            logits_to_keep: compute the last so many positions only, or the positions given; 0 for all.
            **kwargs: passed on to the loss, e.g. ``num_items_in_batch``.

        Returns:
            ``logits`` (B, T, vocab_size); ``loss``, the mean cross-entropy in nats, where there are labels;
            ``past_key_values`` where asked for.
        """
        outputs: BaseModelOutputWithPast = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
        )
        hidden = outputs.last_hidden_state
        assert hidden is not None
        # slice(-0, None) is everything.
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(hidden[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)
