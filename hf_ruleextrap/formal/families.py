"""Families of languages (regular, blocks of equal length, marked copies), and functions that draw their words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from .counting import Entropy, uniform_entropy
from .language import Language
from .machine import Conjunction, State
from .rules import Rule, combinator
from .viability import Finite
from .words import PAD_CODE, BoolArray, ByteArray, FloatArray, IntArray, WordBatch, concatenate, symbol_codes


class Regular(Language):
    """A language whose viability is computed from its finitely many states.

    Only the states in which each rule is viable count. A single rule may have infinitely many states, such as a counter
    that another rule bounds.
    """

    level = "regular"

    @cached_property
    def _viability(self) -> Finite:
        return Finite(Conjunction(self.rules), self.alphabet)

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether some suffix leads to a word of the language."""
        return self._viability.alive(state)


class EqualBlocks(Language):
    """{ a^n b^n c^n … : n >= 1 } over any alphabet; its rules are `equal_counts` and `ordered` of the symbols."""

    one_word_per_length = True
    parameters = {"n": "the exponent"}  # noqa: RUF012  # never changed

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the prefix is viable.

        It is viable if the symbols are in order, no symbol occurs more often than the first one, and each block before
        the latest one is as long as the first.
        """
        *differences, phase = state
        alive = self.rules[1].alive((phase,))
        for block, difference in enumerate(differences, start=2):
            alive &= (difference >= 0) & ((phase <= block) | (difference == 0))
        return alive

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """Return the log of 1 / (number of exponents) for each word."""
        return np.full(len(words), -np.log(max_length // len(self.alphabet)))

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw the exponent uniformly."""
        exponent = rng.integers(1, max_length // len(self.alphabet), size=n, endpoint=True)
        return blocks(*((symbol, exponent) for symbol in self.alphabet))

    def entropy(self, max_length: int) -> Entropy:
        """Return the entropy of the exponent."""
        lengths = len(self.alphabet) * np.arange(1, max_length // len(self.alphabet) + 1)
        return uniform_entropy(lengths, np.zeros(len(lengths)))

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """Return the exponent: the length divided by the size of the alphabet."""
        return {"n": words.lengths // len(self.alphabet)}


_MISMATCH, _BEFORE = -2, -1


@dataclass(frozen=True)
class Copied(Rule):
    """The symbols after the last mark are a copy, or the reversal, of the symbols before the first mark.

    The registers hold the symbols before the first mark as (N, W) codes; their number; and the number of symbols after
    the latest mark that agree with them. The last register is -1 before the first mark, and -2 after a mismatch.
    """

    mark: str
    reverse: bool = False

    def start(self, n: int) -> State:
        """Return the state before the first symbol."""
        return np.zeros((n, 1), np.uint8), np.zeros(n, np.int32), np.full(n, _BEFORE, np.int32)

    def step(self, state: State, codes: ByteArray) -> State:
        """Store symbols before the first mark and compare symbols after it; each mark restarts the comparison."""
        memory, length, place = state
        marks, symbols = codes == ord(self.mark), (codes != ord(self.mark)) & (codes != 0)
        compared = np.flatnonzero(symbols & (place >= 0))
        new = np.flatnonzero(symbols & (place == _BEFORE))
        if len(new):
            missing = int(length[new].max()) + 1 - memory.shape[1]
            # np.pad copies even without padding, so the state in the argument does not change.
            memory = np.pad(memory, ((0, 0), (0, max(0, missing))))
            memory[new, length[new]] = codes[new]
            length = length + (symbols & (place == _BEFORE))
        expected = length[compared] - 1 - place[compared] if self.reverse else place[compared]
        # Beyond the end of the memory, the check of the length fails, so any valid index serves.
        remembered = memory[compared, np.clip(expected, 0, memory.shape[1] - 1)]
        agrees = (place[compared] < length[compared]) & (remembered == codes[compared])
        following = place.copy()
        following[compared] = np.where(agrees, place[compared] + 1, _MISMATCH)
        following[marks] = 0
        return memory, length, following

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the symbols after the latest mark match all symbols before the first mark."""
        return np.asarray(state[2] == state[1])

    def alive(self, state: State) -> BoolArray:
        """Return True for every state: another mark and the copy make the rule hold."""
        return np.ones(len(state[1]), np.bool_)

    def depth(self, state: State) -> IntArray:
        """Return the number of symbols in memory."""
        return state[1].astype(np.int64)


@combinator
def copied(mark: str, *, reverse: bool = False) -> Rule:
    """Return the rule that the symbols after the last mark are a copy of the symbols before the first mark.

    Args:
        mark: The symbol that separates the word from its copy.
        reverse: Whether the copy is reversed.

    >>> copied("#").holds(["ab#ab", "ab#b", "ab#b#ab", "ab"]).tolist()
    [True, False, True, False]
    >>> copied("#", reverse=True).holds(["ab#ba", "ab#ab"]).tolist()
    [True, False]
    """
    what = "the reversal" if reverse else "a copy"
    summary = f"after the last {mark} stands {what} of what stands before the first {mark}"
    return Copied(mark, reverse, name="reversed" if reverse else "copied", summary=summary)


class Marked(Language):
    """A language of marked copies; its rules are `copied` and `exactly_one`, and its mark is the last symbol."""

    reverse: ClassVar[bool] = False
    shortest = 1
    parameters = {"n": "the length of the copied word"}  # noqa: RUF012  # never changed

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether there is at most one mark and the symbols after it match so far."""
        *_, place, _ = state
        return np.asarray(super().alive(state) & (place != _MISMATCH))

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """Return the log of 1 / (number of lengths) / (number of words of that length)."""
        choices = (words.lengths // 2) * np.log(len(self.alphabet) - 1)
        return np.asarray(-np.log((max_length + 1) // 2) - choices)

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw the length of the copied word uniformly, and then each of its symbols."""
        lengths = rng.integers(0, (max_length - 1) // 2, size=n, endpoint=True)
        *symbols, mark = self.alphabet
        codes = rng.choice(symbol_codes(symbols), size=(n, int(lengths.max(initial=0))))
        order = np.tile(np.arange(codes.shape[1]), (n, 1))
        if self.reverse:
            order = np.maximum(lengths[:, None] - 1 - order, 0)
        word, again = (WordBatch.from_codes(part, lengths) for part in (codes, np.take_along_axis(codes, order, 1)))
        return word.followed_by(WordBatch.from_strings([mark] * n)).followed_by(again)

    def entropy(self, max_length: int) -> Entropy:
        """Return the entropy of the length of the copied word plus that of its symbols."""
        copied = np.arange((max_length - 1) // 2 + 1)
        return uniform_entropy(2 * copied + 1, copied * np.log(len(self.alphabet) - 1))

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """Return the length of the copied word."""
        return {"n": words.lengths // 2}


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
        depth += (codes[:, None] == symbol_codes(language.alphabet)) @ change
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
    change[symbol_codes(language.alphabet)] = _depth_changes(language)
    return np.asarray(change[words.codes].cumsum(axis=1).max(axis=1, initial=0))


def _depth_changes(language: Language) -> IntArray:
    """Return (k,) int64: +1 for each opening symbol of the alphabet, and -1 for each closing symbol."""
    return np.where(np.arange(len(language.alphabet)) % 2 == 0, 1, -1)


def _steps(language: Language, state: State, n: int) -> list[State]:
    """Return the state after each symbol of the alphabet."""
    return [language.step(state, np.full(n, symbol, np.uint8)) for symbol in symbol_codes(language.alphabet)]


def _grow(language: Language, lengths: IntArray, rng: np.random.Generator, prime: bool) -> WordBatch:
    """Draw words as `bracket_words` does, all at once."""
    n, width = len(lengths), int(lengths.max(initial=0))
    symbols, change = symbol_codes(language.alphabet), _depth_changes(language)
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
