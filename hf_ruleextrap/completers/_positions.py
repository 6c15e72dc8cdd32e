"""The largest number of tokens that a model can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TABLES = ("position", "wpe", "pos_encoding")


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
