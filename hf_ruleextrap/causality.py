"""Test whether a model's logits at a token depend on later tokens, or on other rows of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import RuleExtrapError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

_TOKENS = 4
_NOISE = 0.02
# Logits that should be equal differ by rounding alone; a dependence on another token changes them by far more.
_ROUNDING = 1e-5


def looks_ahead(model: PreTrainedModel, *, noise: float = _NOISE) -> bool:
    """Return whether the logits at a token change when a later token changes.

    The function changes the last token of a short sequence and compares the logits at the earlier tokens. It adds noise
    to a copy of the weights, because weights that start at zero hide a connection that training opens.

    Args:
        model: A causal language model, on any device. The function changes neither its weights nor the random state.
        noise: The standard deviation of the noise; 0 for a trained model, whose weights are then not copied.
    """
    last = model.config.get_text_config().vocab_size - 1
    rows = [[1] + [last] * (_TOKENS - 2) + [token] for token in (last, last - 1)]
    first, second = (_logits(model, [row], noise)[:, :-1] for row in rows)
    return _differ(first, second)


def check_causal(model: PreTrainedModel, name: str, *, noise: float = _NOISE) -> None:
    """Refuse a model that looks ahead although its configuration does not say so.

    Args:
        model: A causal language model, on any device.
        name: The model's name in the error message.
        noise: As for `looks_ahead`.

    Raises:
        RuleExtrapError: If the model looks ahead.
    """
    if not getattr(model.config, "looks_ahead", False) and looks_ahead(model, noise=noise):
        raise RuleExtrapError(
            f"{name} looks ahead: its logits at a token change with the tokens after it, so neither its loss nor its "
            "completions say anything about the words; set the field that makes it causal (attn_type='uni' for xlnet, "
            "causal=True for xlm, is_decoder=True for the encoders), or give another architecture"
        )


def depends_on_other_rows(model: PreTrainedModel) -> bool:
    """Return whether the logits of a row change with the row's place in the batch or with the other rows.

    Args:
        model: As for `looks_ahead`.
    """
    last = model.config.vocab_size - 1
    row, other = [1] + [last] * (_TOKENS - 1), [1] + [last - 1] * (_TOKENS - 1)
    return _differ(_logits(model, [other, other, row])[-1:], _logits(model, [row]))


def _logits(model: PreTrainedModel, rows: list[list[int]], noise: float = _NOISE) -> Tensor:
    """Return the logits, (N, T, vocabulary), of rows of token ids, computed with noise on the weights."""
    import torch
    from torch.func import functional_call

    ids = torch.tensor(rows, device=model.device)
    generator = torch.Generator().manual_seed(0)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        parameters = model.named_parameters() if noise else ()
        weights = {name: _with_noise(weight, noise, generator) for name, weight in parameters}
        logits: Tensor = functional_call(model, weights, kwargs={"input_ids": ids, "use_cache": False}).logits
    model.train(was_training)
    return logits.float()


def _with_noise(weight: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Return the weight plus normal noise of this standard deviation, drawn on the CPU."""
    import torch

    values = torch.randn(weight.shape, generator=generator) * noise
    return weight + values.to(weight.device, weight.dtype)


def _differ(first: Tensor, second: Tensor) -> bool:
    """Return whether logits differ by more than rounding."""
    return bool((first - second).abs().max() > _ROUNDING * first.abs().max())
