"""How well a model predicts words it is given: loss and accuracy per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.formal.words import IntArray
from hf_ruleextrap.tokenization import BOS_ID, EOS_ID, PAD_ID, encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS = 256


@dataclass(frozen=True)
class Likelihood:
    """The mean over all predicted tokens (each symbol, and EOS; PAD only where it is asked for).

    Attributes:
        loss: mean cross-entropy in nats.
        accuracy: share of tokens that were the model's most likely ones.
        tokens: how many were predicted.
        floor: the loss of the distribution that the words are drawn from, on the same words and tokens; None where it
            is not known. (A model can be below it on words that it was trained on.)
    """

    loss: float
    accuracy: float
    tokens: int
    floor: float | None = None


def token_rows(words: WordBatch, language: Language, *, width: int | None = None) -> IntArray:
    """BOS, the word, EOS, and PAD to the right.

    Args:
        words: N words of at most T symbols.
        language: whose alphabet it is.
        width: number of columns; by default T + 2.

    Returns:
        (N, width) int64 token ids.
    """
    rows = np.full((len(words), width or words.codes.shape[1] + 2), PAD_ID, dtype=np.int64)
    rows[:, 0] = BOS_ID
    rows[:, 1 : words.codes.shape[1] + 1] = encode(words, language)
    rows[np.arange(len(words)), words.lengths + 1] = EOS_ID
    return rows


def likelihood(model: PreTrainedModel, rows: IntArray, *, count_padding: bool = False) -> Likelihood:
    """Loss and accuracy of the next token, exact over all rows whatever the batches.

    Args:
        model: a causal language model.
        rows: (N, T) token ids, as of `token_rows`.
        count_padding: PAD targets count, too (as in the paper's code).
    """
    import torch
    from torch.nn.functional import cross_entropy

    was_training = model.training
    model.eval()
    loss, right, total = 0.0, 0, 0
    with torch.inference_mode():
        for first in range(0, len(rows), _ROWS):
            ids = torch.from_numpy(rows[first : first + _ROWS]).to(model.device)
            targets = ids[:, 1:]
            if not count_padding:
                targets = targets.masked_fill(targets == PAD_ID, -100)
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
            loss += cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
            right += int((logits.argmax(-1) == targets).sum())
            total += int((targets != -100).sum())
    model.train(was_training)
    return Likelihood(loss / total, right / total, total)
