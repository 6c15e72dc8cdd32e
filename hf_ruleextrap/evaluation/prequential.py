"""The prequential code length: the cost, in bits, at which a learner learns a language from a stream of words.

Each batch of the stream is predicted before the learner learns from it, and the cost of a batch is its negative
log-probability under that prediction (Dawid, "Present position and potential developments: some personal views.
Statistical theory: the prequential approach", 1984; Blier and Ollivier, "The description length of deep learning
models", NeurIPS 2018). The cost less the entropy of the data is the price of the language for this learner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.formal.words import FloatArray, IntArray

LEVELS = (0.3, 0.1, 0.03, 0.01)
"""Levels of the running excess, in nats per token; see `CodeLength.reached`."""

WINDOW = 10
"""The number of batches over which the running excess is averaged."""

ORDERS = (1, 2, 3)
"""The orders of the n-gram learners on the same stream."""

_MOST_POINTS = 100


class CodeLength(BaseModel):
    """The code length of a stream of words under a learner, in nats.

    A token is a symbol or the end of a word. All code lengths are of the same tokens.

    Attributes:
        words: The number of words of the stream.
        tokens: The number of tokens of the stream.
        nats: The code length under the learner. The first batch is coded with the uniform code.
        data: The code length under the language's own distribution.
        uniform: The code length under the uniform code: log(k + 1) for each token of an alphabet of k symbols.
        ngrams: The code lengths of n-gram learners with add-one smoothing, by name; see `ngram_code_length`.
        choice: The cost of naming the learner's settings among those that were tried: log(n) for n settings.
        curve: (tokens, excess) after at most 100 batches, evenly spaced; the last pair is the whole stream.
        reached: For each of `LEVELS`, as a string: the number of tokens after which the mean excess per token of the
            last `WINDOW` batches is below the level for the first time; None if the mean is never below the level.
    """

    model_config = ConfigDict(extra="forbid")

    words: int
    tokens: int
    nats: float
    data: float
    uniform: float
    ngrams: dict[str, float]
    choice: float = 0.0
    curve: list[tuple[int, float]]
    reached: dict[str, int | None]

    @property
    def excess(self) -> float:
        """The price of the language for the learner, in nats: ``nats`` and ``choice``, less ``data``."""
        return self.nats + self.choice - self.data

    @property
    def excess_bits(self) -> float:
        """The price of the language for the learner, in bits."""
        return self.excess / math.log(2)


def code_length(
    nats: Sequence[float], words: WordBatch, language: Language, *, batch_size: int, max_length: int, settings: int = 1
) -> CodeLength:
    """Compare the cost of each batch of a stream with the language's own distribution.

    Args:
        nats: The negative log-probability of each batch under the learner, taken before the learner learned from the
            batch. The cost of the first batch is replaced by the uniform code.
        words: The N words of the stream, in order.
        language: The language.
        batch_size: The number of words of a batch; the last batch may be smaller.
        max_length: The largest length of a word, as in `Language.draw`.
        settings: The number of settings among which this learner's were chosen by their code length.

    Raises:
        RuleExtrapError: If the probabilities of the language's words are not known.

    >>> from hf_ruleextrap.languages import get_language
    >>> language = get_language("anbn")
    >>> stream = language.sample(4, max_length=8, rng=np.random.default_rng(0))
    >>> lengths = code_length([0.0, 0.0], stream, language, batch_size=2, max_length=8)
    >>> round(lengths.data / math.log(2), 9), lengths.words  # one of four words, four times
    (8.0, 4)
    """
    data = data_nats(words, language, max_length)
    firsts = np.arange(0, len(words), batch_size)
    tokens = np.add.reduceat(words.lengths.astype(np.int64) + 1, firsts)
    per_token = math.log(len(language.alphabet) + 1)
    costs = np.array(nats, dtype=np.float64)
    costs[0] = tokens[0] * per_token
    excess = costs - np.add.reduceat(data, firsts)
    seen = np.cumsum(tokens)
    points = np.unique(np.linspace(0, len(seen) - 1, min(len(seen), _MOST_POINTS)).round().astype(int))
    total = np.cumsum(excess)
    return CodeLength(
        words=len(words),
        tokens=int(seen[-1]),
        nats=math.fsum(costs),
        data=math.fsum(data),
        uniform=int(seen[-1]) * per_token,
        ngrams={f"{order}-gram": ngram_code_length(words, len(language.alphabet), order) for order in ORDERS},
        choice=math.log(settings),
        curve=[(int(seen[point]), float(total[point])) for point in points],
        reached={str(level): _first_below(excess, tokens, level) for level in LEVELS},
    )


def data_nats(words: WordBatch, language: Language, max_length: int) -> FloatArray:
    """Return the code length of each word under the language's own distribution, (N,) float64 in nats.

    Raises:
        RuleExtrapError: If the probabilities of the language's words are not known.
    """
    logs = language.log_probability(words, max_length)
    if logs is None:
        raise RuleExtrapError(
            f"the probabilities of the words of {language.name} are not known, so its code length has no floor: give "
            "the language a `log_probability`, or remove its own `draw`"
        )
    return -logs


def _first_below(excess: FloatArray, tokens: IntArray, level: float) -> int | None:
    """Return the number of tokens after which the running excess per token is below a level for the first time."""
    if len(excess) < WINDOW:
        return None
    ones = np.ones(WINDOW)
    running = np.convolve(excess, ones, "valid") / np.convolve(tokens, ones, "valid")
    below = np.flatnonzero(running < level)
    return int(np.cumsum(tokens)[below[0] + WINDOW - 1]) if len(below) else None


def ngram_code_length(words: WordBatch, symbols: int, order: int) -> float:
    """Return the code length of a stream under an n-gram learner with add-one smoothing, in nats.

    The learner predicts each token from the n - 1 tokens before it in the same word, with the counts of all tokens
    before. With n_s the count of token s after a context, and K = symbols + 1 tokens, the code length of a context is
    log of (n + K - 1)! / ((K - 1)! prod n_s!), whatever the order of the words (Laplace's rule of succession).

    Args:
        words: The words of the stream.
        symbols: The number k of symbols of the alphabet.
        order: The order n of the learner, at least 1.

    >>> words = WordBatch.from_strings(["a", "a"])
    >>> round(math.exp(ngram_code_length(words, 1, 2)))  # 1/2 x 1/2 for the first word, 2/3 x 2/3 for the second
    9
    """
    kinds = symbols + 1
    width = words.codes.shape[1] + 1
    # A token is its symbol's rank among the bytes of the stream, or the end of a word.
    ranks = np.unique(words.codes[np.arange(width - 1) < words.lengths[:, None]], return_inverse=True)[1]
    codes = np.full((len(words), width), symbols, dtype=np.int64)
    codes[:, :-1][np.arange(width - 1) < words.lengths[:, None]] = ranks
    inside = np.arange(width) <= words.lengths[:, None]
    # The place before a word is one more kind of context.
    context = np.zeros_like(codes)
    for back in range(1, order):
        before = np.full_like(codes, kinds)
        before[:, back:] = codes[:, :-back]
        context = context * (kinds + 1) + before
    pairs, counts = np.unique(np.stack([context[inside], codes[inside]]), axis=1, return_counts=True)
    _, place = np.unique(pairs[0], return_inverse=True)
    totals = np.bincount(place, counts)
    whole = math.fsum(math.lgamma(total + kinds) - math.lgamma(kinds) for total in totals)
    return whole - math.fsum(math.lgamma(count + 1) for count in counts)
