"""A language as data: words split into train, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Language, WordBatch, oracle
from hf_ruleextrap.formal.words import BoolArray, concatenate, symbol_codes

if TYPE_CHECKING:
    from datasets import DatasetDict

_MOST_HELD_OUT = 0.1
"""The largest probability that all held-out words have together."""

_PROBE = 10
"""The number of words drawn for each held-out word, to count frequent words where their probabilities are not known."""

_MOST_DRAWS = 1000
"""The largest number of rounds in which `replace_by_noise` draws words."""

Fingerprints = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Splits:
    """The words of one data set.

    Attributes:
        train, validation, test: Words, repeated as they were drawn.
        held_out: (H,) uint64, the sorted `fingerprints` of the validation and test words that are not in training.
    """

    train: WordBatch
    validation: WordBatch
    test: WordBatch
    held_out: Fingerprints = field(default_factory=lambda: np.zeros(0, np.uint64))

    def to_dataset_dict(self) -> DatasetDict:
        """Return the three splits as Hugging Face datasets with the columns ``text`` and ``length``."""
        from datasets import Dataset, DatasetDict

        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return DatasetDict(
            {
                name: Dataset.from_dict({"text": list(words), "length": words.lengths.astype(np.int32)})
                for name, words in parts.items()
            }
        )


def build_splits(
    language: Language,
    *,
    max_length: int,
    train_size: int,
    held_out_size: int,
    seed: int,
    disjoint: bool = True,
    prompt_lengths: Sequence[int] | None = None,
) -> Splits:
    """Draw the training, validation and test words of a language; the same arguments give the same words.

    Validation and test are independent draws from the language's own distribution (`Language.draw`), whose entropy is
    `Language.entropy`. No predictor has a lower expected loss on these words. If a language has at most one word of
    each length, and the words are equally likely, each split holds all words, and the test loss is exactly the expected
    loss.

    A word of validation or test is held out of training in most cases. There are two exceptions:

    * The word is drawn often: its probability is more than 0.1 divided by the number of validation and test words. So
      the training words cover at least nine tenths of the distribution, and a model never learns that a common word is
      impossible.
    * The word is the shortest completion of an ID prompt: no shorter word begins with the same prompt.

    A language with few words has no rare words, so that all its words are training words.

    Args:
        language: The language.
        max_length: The largest number of symbols in a word.
        train_size: The number of training words; a language with few words gives all its words.
        held_out_size: The number of words in validation, and in test.
        seed: The random seed for drawing words.
        disjoint: Whether to hold words out of training; otherwise the splits are three independent draws, as in the
            paper.
        prompt_lengths: The lengths of the ID prompts whose shortest completions stay in training; by default the
            language's ``prompt_length``.

    Raises:
        RuleExtrapError: If ``max_length`` is too small for any word.

    >>> from hf_ruleextrap import build_splits, get_language
    >>> splits = build_splits(get_language("ban"), max_length=12, train_size=100, held_out_size=10, seed=0)
    >>> len(splits.train), len(splits.validation), len(splits.test)
    (100, 10, 10)
    """
    language.check_length(max_length)
    rng = np.random.default_rng(seed)
    whole = _whole(language, max_length) if language.one_word_per_length else None
    if whole is not None:
        return Splits(whole, whole, whole)
    if not disjoint:
        sizes = (train_size, held_out_size, held_out_size)
        train, validation, test = (language.sample(n, max_length=max_length, rng=rng) for n in sizes)
        return Splits(train, validation, test)
    validation, test = (language.sample(held_out_size, max_length=max_length, rng=rng) for _ in range(2))
    candidates = WordBatch.from_strings(sorted({*validation, *test}))
    rare = _rare(language, candidates, max_length, 2 * held_out_size, seed)
    lengths = (language.prompt_length,) if prompt_lengths is None else prompt_lengths
    is_shortest = np.any([_is_shortest(language, candidates, max_length, length) for length in lengths], axis=0)
    held_out = np.sort(fingerprints(candidates.take(rare & ~is_shortest)))
    train = draw_train_words(language, train_size, max_length=max_length, held_out=held_out, rng=rng)
    return Splits(train, validation, test, held_out)


def replace_by_noise(words: WordBatch, language: Language, share: float, rng: np.random.Generator) -> WordBatch:
    """Replace a share of the words by random words of the same lengths that are not in the language.

    Args:
        words: N words of the language.
        language: The language.
        share: The share of the words to replace, rounded to whole words.
        rng: The random generator for the choice of the words and for the new words.

    Raises:
        RuleExtrapError: If too few random words of these lengths are outside the language.

    >>> from hf_ruleextrap.languages import get_language
    >>> words = WordBatch.from_strings(["ab", "ab", "ab", "ab"])
    >>> noisy = replace_by_noise(words, get_language("anbn"), 0.5, np.random.default_rng(0))
    >>> sum(word == "ab" for word in noisy), noisy.lengths.tolist()
    (2, [2, 2, 2, 2])
    """
    codes, symbols = words.codes.copy(), symbol_codes(language.alphabet)
    missing, queue = round(share * len(words)), rng.permutation(len(words))
    for _ in range(_MOST_DRAWS):
        if not missing:
            return WordBatch(codes, words.lengths)
        rows, queue = queue[:missing], queue[missing:]
        lengths, places = words.lengths[rows], np.arange(codes.shape[1])
        drawn = np.where(places < lengths[:, None], rng.choice(symbols, (len(rows), len(places))), codes[rows])
        is_outside = ~language.contains(WordBatch(drawn, lengths))
        codes[rows[is_outside]] = drawn[is_outside]
        missing -= int(is_outside.sum())
        # A word whose draw was in the language goes to the end of the queue, because every draw of its length may be.
        queue = np.concatenate([queue, rows[~is_outside]])
    raise RuleExtrapError(
        f"noise is {share}, but too few random words of these lengths are outside {language.name}: use a smaller noise"
    )


def count_train_words(language: Language, *, max_length: int, train_size: int) -> int:
    """Return the number of training words of `build_splits` for the same arguments, without drawing any.

    Raises:
        RuleExtrapError: If every word is longer than ``max_length``.

    >>> from hf_ruleextrap.languages import get_language
    >>> count_train_words(get_language("anbn"), max_length=64, train_size=512)
    32
    """
    language.check_length(max_length)
    whole = _whole(language, max_length) if language.one_word_per_length else None
    return train_size if whole is None else len(whole)


def draw_train_words(
    language: Language, size: int, *, max_length: int, held_out: Fingerprints, rng: np.random.Generator
) -> WordBatch:
    """Draw training words that are not held out; a large training set can be drawn in parts.

    Args:
        language: The language.
        size: The number of words.
        max_length: The largest number of symbols in a word.
        held_out: The fingerprints of the held-out words, `Splits.held_out`.
        rng: The random number generator.

    Raises:
        RuleExtrapError: If every word is longer than ``max_length``.
    """
    language.check_length(max_length)
    parts: list[WordBatch] = []
    missing = size
    while missing:
        words = language.sample(max(256, round(missing / (1 - _MOST_HELD_OUT))), max_length=max_length, rng=rng)
        rows = np.flatnonzero(~np.isin(fingerprints(words), held_out))[:missing]
        parts.append(words.take(rows))
        missing -= len(rows)
    return concatenate(parts)


def _whole(language: Language, max_length: int) -> WordBatch | None:
    """Return all words, each once, if the sampler draws them with equal probability; otherwise None."""
    words = WordBatch.from_strings(list(language.words(max_length)))
    logs = language.log_probability(words, max_length)
    return words if logs is None or np.ptp(logs) < 1e-9 else None


def _rare(language: Language, words: WordBatch, max_length: int, size: int, seed: int) -> BoolArray:
    """Return (N,) bool: whether ``size`` words of this probability have a total probability of at most 0.1."""
    logs = language.log_probability(words, max_length)
    if logs is not None:
        return np.asarray(logs <= np.log(_MOST_HELD_OUT / size))
    probe = language.sample(_PROBE * size, max_length=max_length, rng=np.random.default_rng([seed, 1]))
    return ~np.isin(fingerprints(words), fingerprints(probe))


def _is_shortest(language: Language, words: WordBatch, max_length: int, prompt_length: int) -> BoolArray:
    """Return (N,) bool: whether a word is the shortest one that extends its prefix of this length."""
    is_shortest = np.zeros(len(words), np.bool_)
    rows = np.flatnonzero(words.lengths >= prompt_length)
    texts = [word[:prompt_length] for word in words.take(rows)]
    beginnings = list(dict.fromkeys(texts))
    if beginnings:
        prompts = language.label(beginnings)
        completions, _ = oracle(language, prompts, max_new_symbols=max_length - prompt_length)
        shortest = dict(zip(beginnings, completions.lengths.tolist(), strict=True))
        is_shortest[rows] = words.lengths[rows] == [prompt_length + shortest[text] for text in texts]
    return is_shortest


def fingerprints(words: WordBatch) -> Fingerprints:
    """Return (N,) uint64: a hash of the symbols of each word (FNV-1a, then a finalizer)."""
    value = np.full(len(words), 0xCBF29CE484222325, dtype=np.uint64)
    prime = np.uint64(0x100000001B3)
    for place, codes in enumerate(np.ascontiguousarray(words.codes.T)):
        value = np.where(place < words.lengths, (value ^ codes) * prime, value)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    return value ^ (value >> np.uint64(33))
