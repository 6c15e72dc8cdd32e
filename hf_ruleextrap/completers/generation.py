"""Generation under settings of ours alone: a checkpoint's own settings would bend what greedy and drawn mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.errors import RuleExtrapError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


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

    Ours are: the limit, what ends a row, the model's cache, and for draws temperature 1 without top-k and top-p. Every
    other setting is neutral, whatever the checkpoint's ``generation_config.json`` and ``custom_generate`` say.

    Args:
        model: a causal language model.
        inputs: (B, T) int64 token ids without padding.
        max_new_tokens: the most tokens of a continuation.
        eos_ids: the tokens that end a row; there may be none.
        pad_id: the token that fills a row behind its end.
        sample: draw each token; else the most likely one is taken.
        processors: functions of (B, t) tokens and (B, V) scores that give new scores.

    Returns:
        (B, N) int64, the new tokens.

    Raises:
        RuleExtrapError: The model's class generates in a way of its own.
    """
    import torch
    from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList

    if getattr(type(model), "generate", None) is not GenerationMixin.generate:
        raise RuleExtrapError(
            f"{type(model).__name__} generates in a way of its own, which may be neither greedy nor its distribution: "
            "give a model that uses the generate() of transformers"
        )
    settings: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {}
    ours = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=sample,
        num_beams=1,
        use_cache=True,
        eos_token_id=list(eos_ids) or None,
        pad_token_id=pad_id,
        **settings,
    )
    own = model.generation_config
    # What is not set is filled in from the model's own settings.
    model.generation_config = GenerationConfig()
    try:
        output = GenerationMixin.generate(
            model,
            inputs,
            generation_config=ours,
            attention_mask=torch.ones_like(inputs),
            logits_processor=LogitsProcessorList(processors),
        )
    finally:
        model.generation_config = own
    assert isinstance(output, torch.Tensor)
    return output[:, inputs.shape[1] :]
