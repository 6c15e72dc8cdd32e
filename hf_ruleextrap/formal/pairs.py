"""Minimal pairs: a word of the language, and a very similar string that breaks exactly one rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, count, product, zip_longest
from math import comb

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError, counted

from .language import Language
from .words import BoolArray, WordBatch, Words

_MOST_CHANGES = 1 << 15
_MOST_STRINGS = 1 << 16


@dataclass(frozen=True)
class MinimalPair:
    """Two similar strings.

    Attributes:
        word: A word of the language.
        broken: A string that breaks one rule and keeps all others.
    """

    word: str
    broken: str

    @property
    def same_length(self) -> bool:
        """Whether both strings have the same length, so that a preference for short words does not help a model."""
        return len(self.word) == len(self.broken)


@dataclass(frozen=True)
class RulePairs:
    """The pairs of one rule.

    Attributes:
        rule: The name of the rule.
        summary: The rule as a sentence.
        pairs: The pairs, each once. The first pairs of all words come before the second pair of any word.
        reason: The reason if there are no pairs; otherwise empty.
    """

    rule: str
    summary: str
    pairs: tuple[MinimalPair, ...]
    reason: str


def minimal_pairs(
    language: Language, words: Words, *, rng: np.random.Generator, limit: int | None = None
) -> tuple[RulePairs, ...]:
    """Return for each rule pairs of a word and a string that breaks that rule alone.

    The broken string has the length of the word and differs from it in as few symbols as possible. If no string of this
    length breaks the rule alone, one symbol is inserted or deleted, and as few further symbols as possible are changed.
    The search ends at the first distance at which there are more than 2^15 strings. Strings at the same distance are in
    random order.

    Args:
        language: The language.
        words: Words of the language; repeated words count once.
        rng: The random number generator for the order of equally distant strings.
        limit: The largest number of pairs of each rule; None for all pairs.

    Raises:
        RuleExtrapError: If one of the words is not in the language, or the limit is below 1.

    >>> from hf_ruleextrap.languages import get_language
    >>> pairs_by_rule = minimal_pairs(get_language("anbn"), ["aabb"], rng=np.random.default_rng(0))
    >>> [sorted(pair.broken for pair in rule.pairs) for rule in pairs_by_rule]
    [['aaab', 'abbb'], ['abab', 'abba', 'baab', 'baba']]
    >>> minimal_pairs(get_language("dyck"), ["()"], rng=np.random.default_rng(0))[0].reason
    'no string of up to 8 symbols breaks the rule alone: each string that breaks it also breaks properly_nested'
    """
    texts = list(dict.fromkeys(WordBatch.of(words, language.alphabet)))
    outside = ~language.contains(texts)
    if outside.any():
        raise RuleExtrapError(
            f"{texts[int(outside.argmax())]!r} is not a word of {language.name}: give only words of {language.name}"
        )
    if limit is not None and limit < 1:
        raise RuleExtrapError(f"limit is {limit}: give 1 or more")
    reasons = _unbreakable(language)
    possible = np.array([not reason for reason in reasons])
    # For each rule, one list for each word that has pairs.
    pairs_by_rule: list[list[list[MinimalPair]]] = [[] for _ in language.rules]
    for text in texts:
        for pairs_of_rule, broken in zip(pairs_by_rule, _nearest(language, text, possible), strict=True):
            if broken:
                pairs_of_rule.append([MinimalPair(text, broken[i]) for i in rng.permutation(len(broken))])
    return tuple(
        RulePairs(
            rule.name,
            rule.summary,
            # The second pair of a word comes after the first pairs of all words.
            tuple(pair for turn in zip_longest(*lists) for pair in turn if pair is not None)[:limit],
            reason or ("" if lists else f"no string near the {counted(len(texts), 'word')} breaks the rule alone"),
        )
        for rule, lists, reason in zip(language.rules, pairs_by_rule, reasons, strict=True)
    )


def breaks_alone(language: Language, words: Words) -> BoolArray:
    """Return (N, R) bool: whether each word breaks this rule and no other.

    >>> from hf_ruleextrap.languages import get_language
    >>> breaks_alone(get_language("anbn"), ["ab", "aab", "abab", "baa"]).tolist()
    [[False, False], [True, False], [False, True], [False, False]]
    """
    broken = _broken(language, words)
    return np.asarray(broken & (broken.sum(axis=1, keepdims=True) == 1))


def _broken(language: Language, words: Words) -> BoolArray:
    batch = WordBatch.of(words, language.alphabet)
    return ~np.stack([rule.holds(batch) for rule in language.rules], axis=1)


def _unbreakable(language: Language) -> list[str]:
    """Return for each rule why no short string breaks the rule alone; empty if some short string does."""
    k = len(language.alphabet)
    longest = next(length for length in count(1) if k ** (length + 1) > _MOST_STRINGS)
    texts = [
        "".join(symbols) for length in range(1, longest + 1) for symbols in product(language.alphabet, repeat=length)
    ]
    broken = _broken(language, texts)
    alone = (broken & (broken.sum(axis=1, keepdims=True) == 1)).any(axis=0)
    # Whether every string that breaks one rule also breaks another; False for a rule that no string breaks.
    too = np.equal(broken.T.astype(np.int64) @ ~broken, 0) & np.any(broken, axis=0)[:, None]
    reasons = []
    for i, possible in enumerate(alone):
        others = [rule.name for j, rule in enumerate(language.rules) if too[i, j] and j != i]
        what = f": each string that breaks it also breaks {' and '.join(others)}" if others else ""
        reasons.append("" if possible else f"no string of up to {longest} symbols breaks the rule alone{what}")
    return reasons


def _nearest(language: Language, word: str, wanted: BoolArray) -> list[list[str]]:
    """Return for each wanted rule the strings at the smallest distance that break the rule alone."""
    nearest: list[list[str]] = [[] for _ in wanted]
    lacking = wanted.copy()
    for candidates in _ever_farther(word, language.alphabet):
        if not lacking.any():
            break
        alone = breaks_alone(language, candidates)
        for i in np.flatnonzero(lacking & alone.any(axis=0)):
            nearest[i] = [candidates[row] for row in np.flatnonzero(alone[:, i])]
            lacking[i] = False
    return nearest


def _ever_farther(word: str, alphabet: Sequence[str]) -> Iterator[list[str]]:
    """Yield strings of the same length by the number of changed symbols, then strings one symbol longer or shorter."""
    yield from _by_changes([word], alphabet, 1)
    shorter = [word[:i] + word[i + 1 :] for i in range(len(word))]
    longer = [word[:i] + symbol + word[i:] for i in range(len(word) + 1) for symbol in alphabet]
    yield from _by_changes([text for text in dict.fromkeys(shorter + longer) if text], alphabet, 0)


def _by_changes(words: Sequence[str], alphabet: Sequence[str], least: int) -> Iterator[list[str]]:
    for changes in count(least):
        size = sum(comb(len(word), changes) for word in words) * (len(alphabet) - 1) ** changes
        if not 0 < size <= _MOST_CHANGES:
            return
        # Several words may lead to the same string.
        yield list(dict.fromkeys(text for word in words for text in _changed(word, alphabet, changes)))


def _changed(word: str, alphabet: Sequence[str], changes: int) -> Iterator[str]:
    """Yield all strings that differ from a word in a given number of places."""
    for places in combinations(range(len(word)), changes):
        others = [[symbol for symbol in alphabet if symbol != word[place]] for place in places]
        for symbols in product(*others):
            letters = list(word)
            for place, symbol in zip(places, symbols, strict=True):
                letters[place] = symbol
            yield "".join(letters)
