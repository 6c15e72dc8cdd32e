"""Train, validation and test words, disjoint unless the authors' way is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.formal.words import concatenate

if TYPE_CHECKING:
    from datasets import DatasetDict

_HELD_OUT = 0.1
"""The share of distinct words that validation gets, and that test gets."""

_COMMON = 0.005
"""A word that is drawn so often is never held out: a model that is trained without it learns that it is no word."""

_ROUNDS = 200


@dataclass(frozen=True)
class Splits:
    """The words of one data set.

    Attributes:
        train, validation, test: words, repeated as they were drawn.
        disjoint: no word stands in two of them.
    """

    train: WordBatch
    validation: WordBatch
    test: WordBatch
    disjoint: bool

    def to_dataset_dict(self) -> DatasetDict:
        """The three splits as Hugging Face datasets with the columns ``text`` and ``length``."""
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
) -> Splits:
    """The data of a language; the same arguments give the same words.

    A language with at most one word per length is used whole: each word once, a random tenth of the lengths held out
    for validation and another for test (never the shortest or the longest). Any other is drawn from its sampler;
    there, which split a word belongs to is decided by a hash of the word and the seed, so that no word is in two, and
    a word that is drawn more often than once in 200 times is trained on.

    With ``disjoint=False``, as in the paper: a language with few words stands whole in all three splits, and for any
    other the three are independent draws.

    Args:
        language: what to draw.
        max_length: most symbols in a word.
        train_size: words to train on (a language with few words gives at most all of them).
        held_out_size: words in validation, and in test.
        seed: of the draw and of the split.
        disjoint: whether no word may stand in two splits.

    Raises:
        RuleExtrapError: ``max_length`` is too small for any word, or for enough words to hold some out.
    """
    language.check_length(max_length)
    rng = np.random.default_rng(seed)
    if language.few_words:
        return _whole(language, max_length, rng, disjoint)
    if not disjoint:
        sizes = (train_size, held_out_size, held_out_size)
        train, validation, test = (language.sample(n, max_length=max_length, rng=rng) for n in sizes)
        return Splits(train, validation, test, disjoint=False)
    return _drawn(language, max_length, (train_size, held_out_size, held_out_size), seed, rng)


def count_train_words(language: Language, *, max_length: int, train_size: int, disjoint: bool) -> int:
    """How many training words `build_splits` gives for the same arguments, without drawing any.

    Raises:
        RuleExtrapError: ``max_length`` is too small for any word.

    >>> from hf_ruleextrap.languages import get_language
    >>> count_train_words(get_language("anbn"), max_length=64, train_size=512, disjoint=True)
    26
    """
    language.check_length(max_length)
    if not language.few_words:
        return train_size
    words = sum(1 for _ in language.words(max_length))
    return words - 2 * _held_out_words(words) if disjoint else words


def _held_out_words(words: int) -> int:
    """How many of all words validation gets, and test, where a language is used whole."""
    return max(1, round(_HELD_OUT * words))


def _whole(language: Language, max_length: int, rng: np.random.Generator, disjoint: bool) -> Splits:
    words = list(language.words(max_length))
    if not disjoint:
        whole = WordBatch.from_strings(words)
        return Splits(whole, whole, whole, disjoint=False)
    share = _held_out_words(len(words))
    inner = rng.permutation(np.arange(1, len(words) - 1))
    if len(inner) < 2 * share:
        raise RuleExtrapError(
            f"max_length {max_length} gives {language.name} only {len(words)} words, too few to hold any out: "
            "give a larger max_length, or disjoint: false"
        )
    owner = np.zeros(len(words), np.int64)
    owner[inner[:share]], owner[inner[share : 2 * share]] = 1, 2
    whole = WordBatch.from_strings(words)
    train, validation, test = (whole.take(owner == split) for split in range(3))
    return Splits(train, validation, test, disjoint=True)


def _drawn(
    language: Language, max_length: int, sizes: tuple[int, int, int], seed: int, rng: np.random.Generator
) -> Splits:
    parts: list[list[WordBatch]] = [[], [], []]
    counts = [0, 0, 0]
    for _ in range(_ROUNDS):
        words = language.sample(max(256, sum(sizes)), max_length=max_length, rng=rng)
        owner = _owner(language, words, max_length, seed)
        for split, size in enumerate(sizes):
            rows = np.flatnonzero(owner == split)[: size - counts[split]]
            parts[split].append(words.take(rows))
            counts[split] += len(rows)
        if counts == list(sizes):
            train, validation, test = map(concatenate, parts)
            return Splits(train, validation, test, disjoint=True)
    raise _too_few(language, max_length)


def draw_train_words(
    language: Language, size: int, *, max_length: int, seed: int, rng: np.random.Generator
) -> WordBatch:
    """Draw words that `build_splits` would hold out for neither validation nor test, for draws made in parts.

    Args:
        language: what to draw; not one with few words.
        size: how many.
        max_length: most symbols in a word.
        seed: of the split.
        rng: of this draw.

    Raises:
        RuleExtrapError: ``max_length`` is too small for any word, or for enough words to hold some out.
    """
    language.check_length(max_length)
    parts: list[WordBatch] = []
    missing = size
    for _ in range(_ROUNDS):
        words = language.sample(max(256, round(missing / (1 - 2 * _HELD_OUT))), max_length=max_length, rng=rng)
        rows = np.flatnonzero(_owner(language, words, max_length, seed) == 0)[:missing]
        parts.append(words.take(rows))
        missing -= len(rows)
        if not missing:
            return concatenate(parts)
    raise _too_few(language, max_length)


def _too_few(language: Language, max_length: int) -> RuleExtrapError:
    return RuleExtrapError(
        f"max_length {max_length} gives {language.name} too few words to hold any out: give a larger max_length, "
        "or disjoint: false"
    )


def _owner(language: Language, words: WordBatch, max_length: int, seed: int) -> npt.NDArray[np.int64]:
    """(N,) 0, 1 or 2: whether a word may stand in train, validation or test, as shares of [0, 1)."""
    owner = np.digitize(_hash(words, seed), [1 - 2 * _HELD_OUT, 1 - _HELD_OUT])
    known = language.log_probability(words, max_length)
    return owner if known is None else np.where(np.exp(known) > _COMMON, 0, owner)


def _hash(words: WordBatch, seed: int) -> npt.NDArray[np.float64]:
    """(N,) numbers in [0, 1) that depend on the word and the seed alone (FNV-1a, then a finalizer)."""
    value = np.full(len(words), 0xCBF29CE484222325 ^ seed, dtype=np.uint64)
    prime = np.uint64(0x100000001B3)
    for place, codes in enumerate(np.ascontiguousarray(words.codes.T)):
        value = np.where(place < words.lengths, (value ^ codes) * prime, value)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    return (value >> np.uint64(11)) / float(1 << 53)
