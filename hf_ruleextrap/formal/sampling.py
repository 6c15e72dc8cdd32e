"""Functions of which the samplers of languages are built."""

from __future__ import annotations

import numpy as np

from .language import Language
from .machine import State
from .words import PAD_CODE, ByteArray, FloatArray, IntArray, WordBatch, concatenate

_WORDS_AT_ONCE = 4096


def blocks(*runs: tuple[str, IntArray]) -> WordBatch:
    """Return N words that are concatenations of runs of one symbol each.

    Args:
        runs: For each run, the symbol and (N,) the number of its repetitions in each word.

    >>> list(blocks(("a", np.array([2, 0])), ("b", np.array([1, 3]))))
    ['aab', 'bbb']
    """
    counts = np.stack([count for _, count in runs], axis=1)
    codes = np.array([ord(symbol) for symbol, _ in runs], dtype=np.uint8)
    flat = np.tile(codes, len(counts)).repeat(counts.ravel())
    return WordBatch.from_flat(flat, counts.sum(axis=1).astype(np.int64))


def shuffled(words: WordBatch, rng: np.random.Generator) -> WordBatch:
    """Return each word with its symbols in random order; all orders are equally likely.

    >>> sorted(next(iter(shuffled(WordBatch.from_strings(["aab"]), np.random.default_rng(0)))))
    ['a', 'a', 'b']
    """
    keys = rng.random(words.codes.shape)
    # Padding sorts behind every symbol.
    keys[words.codes == PAD_CODE] = 2.0
    return WordBatch(np.take_along_axis(words.codes, keys.argsort(axis=1), axis=1), words.lengths)


def bracket_words(language: Language, lengths: IntArray, rng: np.random.Generator, *, prime: bool = False) -> WordBatch:
    """Draw words of a bracket language, symbol by symbol.

    Each next symbol is uniform over the symbols that leave the prefix viable. Once the open brackets need all symbols
    that remain, the choice is among closing symbols only. These are the generators of Mészáros et al. for L4 and L6.

    Args:
        language: The language, in whose alphabet opening and closing symbols alternate, e.g. ``( ) [ ]``.
        lengths: (N,) int64, even numbers.
        rng: The random number generator.
        prime: Whether a word ends as soon as all brackets are closed, so that no word is a concatenation of two words.
    """
    pieces = [
        _grow(language, lengths[first : first + _WORDS_AT_ONCE], rng, prime)
        for first in range(0, len(lengths), _WORDS_AT_ONCE)
    ]
    return concatenate(pieces) if pieces else WordBatch.from_strings([])


def bracket_log_probability(
    language: Language, words: WordBatch, max_length: int, *, prime: bool = False
) -> FloatArray:
    """Return (N,) float64: the log-probability with which `bracket_words` draws each word, in nats.

    The even lengths are uniform.

    Args:
        language: The language, as in `bracket_words`.
        words: N words that `bracket_words` can draw.
        max_length: The largest length.
        prime: As in `bracket_words`. A word may then end before the length that was drawn for it. For each greater
            length the probability of the word is the same, since closing was never forced.
    """
    change = _depth_changes(language)
    state, depth = language.start(len(words)), np.zeros(len(words), np.int64)
    free, forced = np.zeros(len(words)), np.zeros(len(words))
    for place, codes in enumerate(np.ascontiguousarray(words.codes.T)):
        inside = place < words.lengths
        allowed = np.column_stack([language.alive(step) for step in _steps(language, state, len(words))])
        free -= np.log(np.maximum(allowed.sum(axis=1), 1)) * inside
        allowed[:, change > 0] &= (depth < words.lengths - place)[:, None]
        forced -= np.log(np.maximum(allowed.sum(axis=1), 1)) * inside
        state = language.step(state, codes)
        depth += (codes[:, None] == _codes(language)) @ change
    lengths = max_length // 2
    if not prime:
        return np.asarray(forced - np.log(lengths))
    longer = lengths - words.lengths // 2
    return np.asarray(np.log(longer * np.exp(free) + np.exp(forced)) - np.log(lengths))


def bracket_depth(language: Language, words: WordBatch) -> IntArray:
    """Return (N,) int64: the largest number of brackets of a word that are open at the same place.

    Args:
        language: The language, as in `bracket_words`.
        words: N words of the language.
    """
    change = np.zeros(256, np.int64)
    change[_codes(language)] = _depth_changes(language)
    return np.asarray(change[words.codes].cumsum(axis=1).max(axis=1, initial=0))


def _codes(language: Language) -> ByteArray:
    return np.frombuffer("".join(language.alphabet).encode("ascii"), dtype=np.uint8)


def _depth_changes(language: Language) -> IntArray:
    """Return (k,) int64: +1 for each opening symbol of the alphabet, and -1 for each closing symbol."""
    return np.where(np.arange(len(language.alphabet)) % 2 == 0, 1, -1)


def _steps(language: Language, state: State, n: int) -> list[State]:
    """Return the state after each symbol of the alphabet."""
    return [language.step(state, np.full(n, symbol, np.uint8)) for symbol in _codes(language)]


def _grow(language: Language, lengths: IntArray, rng: np.random.Generator, prime: bool) -> WordBatch:
    """Draw words as `bracket_words` does, all at once."""
    n, width = len(lengths), int(lengths.max(initial=0))
    symbols, change = _codes(language), _depth_changes(language)
    codes = np.full((width, n), PAD_CODE, np.uint8)
    state, depth, ends = language.start(n), np.zeros(n, np.int64), lengths.copy()
    for place in range(width):
        allowed = np.column_stack([language.alive(step) for step in _steps(language, state, n)])
        allowed[:, change > 0] &= (depth < lengths - place)[:, None]
        # The allowed symbol with the largest random key is a uniform choice.
        choice = np.where(allowed, rng.random(allowed.shape), -1.0).argmax(axis=1)
        inside = place < ends
        codes[place] = np.where(inside, symbols[choice], PAD_CODE)
        state = language.step(state, codes[place])
        depth += change[choice] * inside
        if prime:
            ends = np.where(inside & (depth == 0), place + 1, ends)
    return WordBatch.from_codes(codes.T, ends)
