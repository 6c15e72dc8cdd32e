"""Generation with fixed settings, and the largest number of tokens that a model can read.

A checkpoint's own settings could change greedy decoding and sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.errors import RuleExtrapError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_TABLES = ("position", "wpe", "pos_encoding")


def generate(
    model: PreTrainedModel,
    inputs: torch.Tensor,
    *,
    max_new_tokens: int,
    eos_ids: Sequence[int],
    pad_id: int,
    sample: bool = False,
    processors: Sequence[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = (),
) -> torch.Tensor:
    """Continue rows of tokens.

    The caller decides the limit and the tokens that end a row. Generation uses the model's cache, and samples at
    temperature 1 without top-k and top-p. Every other setting is neutral: the checkpoint's ``generation_config.json``
    and ``custom_generate`` have no effect.

    Args:
        model: A causal language model.
        inputs: (B, T) int64 token ids without padding.
        max_new_tokens: The largest number of tokens in a continuation.
        eos_ids: The tokens that end a row, possibly none.
        pad_id: The token that fills a row after its end.
        sample: Draw each token; otherwise take the most likely token.
        processors: Functions that map (B, t) tokens and (B, V) scores to new scores.

    Returns:
        (B, N) int64, the new tokens.

    Raises:
        RuleExtrapError: If the model's class overrides ``generate``.
    """
    import torch
    from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList

    if getattr(type(model), "generate", None) is not GenerationMixin.generate:
        raise RuleExtrapError(
            f"{type(model).__name__} has its own generate(), which may not decode greedily or sample from the model's "
            "distribution: give a model that uses the generate() of transformers"
        )
    settings: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {}
    fixed_config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=sample,
        num_beams=1,
        use_cache=True,
        eos_token_id=list(eos_ids) or None,
        pad_token_id=pad_id,
        **settings,
    )
    models_config = model.generation_config
    # `generate` fills unset fields from the model's own settings, so these must be neutral.
    model.generation_config = GenerationConfig()
    try:
        output = GenerationMixin.generate(
            model,
            inputs,
            generation_config=fixed_config,
            attention_mask=torch.ones_like(inputs),
            logits_processor=LogitsProcessorList(processors),
        )
    finally:
        model.generation_config = models_config
    assert isinstance(output, torch.Tensor)
    return output[:, inputs.shape[1] :]


def most_tokens(model: PreTrainedModel) -> int | None:
    """Return the largest number of tokens, including BOS, that a model can read, or None if the model has no limit.

    The configurations of this package state the number as ``most_tokens``. Another model of transformers has a limit if
    it has a table with one row for each position, learned (``nn.Embedding``) or fixed (a buffer). The limit is the
    number of rows that the model does not reserve for padding. Relative, rotary and growing encodings have no limit,
    even if the configuration has ``max_position_embeddings``.

    Args:
        model: A causal language model.
    """
    if hasattr(model.config, "most_tokens"):
        limit: int | None = model.config.most_tokens
        return limit
    return min(_rows_of_tables(model), default=None)


def _rows_of_tables(model: PreTrainedModel) -> list[int]:
    from torch import nn

    rows = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and _is_of_positions(name):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            rows.append(module.num_embeddings - max(reserved, getattr(module, "offset", 0)))
        elif "Sinusoidal" not in type(module).__name__:
            # The sinusoidal tables of transformers grow with the input.
            rows += [
                len(table)
                for buffer, table in module.named_buffers(recurse=False)
                if table.ndim == 2 and table.is_floating_point() and _is_of_positions(buffer)
            ]
    return rows


def _is_of_positions(name: str) -> bool:
    last = name.rpartition(".")[2]
    return "relative" not in last and any(part in last for part in _TABLES)


def check_positions(model: PreTrainedModel, tokens: int, what: str, advice: str) -> None:
    """Raise an error if sequences are longer than a model can read.

    Args:
        model: A causal language model.
        tokens: The number of tokens of the longest sequence, including BOS.
        what: The description of the sequences for the message, in the plural.
        advice: The advice for the message.

    Raises:
        RuleExtrapError: If the model has fewer positions.
    """
    limit = most_tokens(model)
    if limit is not None and tokens > limit:
        raise RuleExtrapError(f"{what} take {tokens} tokens, and the model has {limit} positions: {advice}")
