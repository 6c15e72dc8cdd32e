"""The loss and the accuracy of a model on words, per token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.formal.words import BoolArray, FloatArray, IntArray
from hf_ruleextrap.tokenization import BOS_ID, EOS_ID, PAD_ID, encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The number of words in one forward pass.
ROWS_AT_ONCE = 256
_MOST_WORDS = 1 << 14


@dataclass(frozen=True)
class Likelihood:
    """The loss and the accuracy over all predicted tokens: each symbol and EOS, and PAD only if PAD is counted.

    Attributes:
        loss: The mean cross-entropy in nats.
        accuracy: The share of tokens to which the model gives the highest probability.
        tokens: The number of predicted tokens.
        floor: The entropy per token of the distribution from which the words are drawn: the entropy of a word, divided
            by the mean number of tokens. The expected loss of every predictor is at least the floor. On a finite sample
            of words, a loss can be below the floor, if the words happen to be likely ones. None if the distribution is
            not known.
        excess: The loss less the loss of the language's own distribution on the same words, which does not depend on
            whether the words happen to be likely: an estimate of the Kullback-Leibler divergence per token. None if
            the floor is None.
        excess_error: The standard error of ``excess`` over random samples of words; None if ``excess`` is None, and for
            fewer than two words.
    """

    loss: float
    accuracy: float
    tokens: int
    floor: float | None = None
    excess: float | None = None
    excess_error: float | None = None


def token_rows(words: WordBatch, language: Language, *, width: int | None = None) -> IntArray:
    """Return each word as BOS, the tokens of the word, EOS, and PAD up to the width.

    Args:
        words: The N words, of at most T symbols.
        language: The language of the words.
        width: The number of columns; by default T + 2.

    Returns:
        (N, width) int64 token ids.
    """
    rows = np.full((len(words), width or words.codes.shape[1] + 2), PAD_ID, dtype=np.int64)
    rows[:, 0] = BOS_ID
    rows[:, 1 : words.codes.shape[1] + 1] = encode(words, language)
    rows[np.arange(len(words)), words.lengths + 1] = EOS_ID
    return rows


def measure_likelihood(
    model: PreTrainedModel,
    rows: IntArray,
    *,
    count_padding: bool = False,
    log_probability: FloatArray | None = None,
) -> Likelihood:
    """Return the loss and the accuracy of the next token, which do not depend on how the rows are batched.

    Args:
        model: A causal language model.
        rows: (N, T) int64 token ids, as `token_rows` returns them.
        count_padding: Whether PAD targets are counted, as the paper's code does.
        log_probability: (N,) float64, the log-probability of each word in the language's distribution, in nats, for
            ``excess`` and its standard error.
    """
    batches = list(_batches(model, rows, count_padding=count_padding))
    losses = np.concatenate([losses.sum(axis=1) for losses, _, _ in batches])
    tokens = np.concatenate([counted.sum(axis=1) for _, _, counted in batches])
    right, total = sum(int(correct.sum()) for _, correct, _ in batches), int(tokens.sum())
    measured = Likelihood(float(losses.sum()) / total, right / total, total)
    if log_probability is None:
        return measured
    excess = float((losses + log_probability).sum()) / total
    n, error = len(rows), None
    if n > 1 and np.isfinite(excess):
        # The standard error of a ratio of two sums over words (Cochran, Sampling Techniques, 1977, section 6.3).
        residuals = losses + log_probability - excess * tokens
        error = float(np.sqrt(n / (n - 1) * (residuals**2).sum())) / total
    return replace(measured, excess=excess, excess_error=error)


def word_log_probability(model: PreTrainedModel, words: WordBatch, language: Language) -> FloatArray:
    """Return the log-probability that a model gives to each word and its end, (N,) float64 in nats."""
    parts = _batches(model, token_rows(words, language), count_padding=False)
    return np.concatenate([-losses.sum(axis=1) for losses, _, _ in parts])


def divergence(model: PreTrainedModel, language: Language, *, max_length: int) -> float | None:
    """Return the Kullback-Leibler divergence of a model from the data, in nats per word: the sum of P log(P / model).

    Args:
        model: A causal language model with the language's tokenizer.
        language: The language from which the data are drawn.
        max_length: The largest length of a word of the data.

    Returns:
        The exact sum over all words; None if the probabilities of the language's words are not known, or if there are
        more than 2^14 words.
    """
    # Listing the words takes long where their number may grow with k to the power of the length.
    is_small = language.one_word_per_length or len(language.alphabet) ** max_length <= _MOST_WORDS
    words = list(islice(language.words(max_length), _MOST_WORDS + 1)) if is_small else []
    if not 0 < len(words) <= _MOST_WORDS:
        return None
    batch = WordBatch.from_strings(words)
    known = language.log_probability(batch, max_length)
    if known is None:
        return None
    possible = np.exp(known) > 0
    return float((np.exp(known) * (known - word_log_probability(model, batch, language)))[possible].sum())


def _batches(
    model: PreTrainedModel, rows: IntArray, *, count_padding: bool
) -> Iterator[tuple[FloatArray, BoolArray, BoolArray]]:
    """Yield (B, T - 1) losses of the targets, whether each is the likeliest token, and whether each counts."""
    import torch
    from torch.nn.functional import cross_entropy

    was_training = model.training
    model.eval()
    for first in range(0, len(rows), ROWS_AT_ONCE):
        with torch.inference_mode():
            ids = torch.from_numpy(rows[first : first + ROWS_AT_ONCE]).to(model.device)
            targets = ids[:, 1:]
            if not count_padding:
                targets = targets.masked_fill(targets == PAD_ID, -100)
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
            losses = cross_entropy(logits.transpose(1, 2), targets, reduction="none")
            of_targets = (losses.double(), logits.argmax(-1) == targets, targets != -100)
        yield tuple(part.cpu().numpy() for part in of_targets)  # type: ignore[misc]  # the tuple has three parts
    model.train(was_training)
