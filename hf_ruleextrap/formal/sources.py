"""Markov sources: references whose next symbol depends only on the last few symbols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .graph import NOWHERE, Graph
from .language import Language
from .machine import Machine, State
from .words import BoolArray, ByteArray, FloatArray, IntArray, WordBatch, symbol_codes


@dataclass(frozen=True, eq=False)
class Source(Machine):
    """A Markov source over k symbols and the end.

    As a machine, a source has one register, the context. The context is a number whose digits in base k + 1 stand for
    the last ``order`` symbols, the latest symbol last. A digit of 0 stands for a place before the word began.

    Attributes:
        name: The name of the source in a report.
        alphabet: The k symbols.
        order: The number of symbols on which the next symbol depends.
        table: ((k + 1)^order, k + 1) float64, the probability of each symbol, and in the last column of
            the end, after each context.
    """

    name: str
    alphabet: tuple[str, ...]
    order: int
    table: FloatArray

    @cached_property
    def symbols(self) -> ByteArray:
        """(k,) uint8: the code of each symbol."""
        return symbol_codes(self.alphabet)

    @cached_property
    def _digits(self) -> IntArray:
        """(256,) int64: the digit of each code in a context; 0 for codes outside the alphabet."""
        digits = np.zeros(256, np.int64)
        digits[self.symbols] = np.arange(len(self.alphabet)) + 1
        return digits

    @property
    def deterministic(self) -> bool:
        """Whether one continuation of each context has probability 1."""
        return bool((self.table.max(axis=1) == 1).all())

    def start(self, n: int) -> State:
        """Return the context before the first symbol."""
        return (np.zeros(n, np.int64),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Return the context after the symbol."""
        (context,) = state
        base, digit = len(self.alphabet) + 1, self._digits[codes]
        following = (context * base + digit) % base**self.order
        return (np.where(digit > 0, following, context),)

    def accepts(self, state: State) -> BoolArray:
        """Return True for each row: a source accepts every word."""
        return np.ones(len(state[0]), np.bool_)

    def alive(self, state: State) -> BoolArray:
        """Return True for each row: every prefix of a source is viable."""
        return np.ones(len(state[0]), np.bool_)

    def complete(
        self, prompts: WordBatch, *, max_new_symbols: int, rng: np.random.Generator | None
    ) -> tuple[WordBatch, BoolArray]:
        """Continue each prompt.

        Args:
            prompts: N prefixes.
            max_new_symbols: The largest number of symbols in a completion.
            rng: The random number generator. None selects the most likely symbol at each place, and the first of
                several equally likely symbols.

        Returns:
            The completions, and (N,) bool, whether each ended within the limit.
        """
        n, end = len(prompts), len(self.alphabet)
        # The completions that have not ended, and their contexts.
        rows, (context,) = np.arange(n), self.read(prompts)
        lengths = np.zeros(n, np.int64)
        columns: list[ByteArray] = []
        thresholds = np.ascontiguousarray(self.table.cumsum(axis=1)[:, :-1].T)
        likely = self.table.argmax(axis=1)
        # There is one draw more than symbols, because the end may follow the last symbol.
        for place in range(max_new_symbols + 1):
            if rng is None:
                choice = likely[context]
            else:
                # Ended rows use up a random number, too, so that the draws of a row do not depend on other rows.
                drawn = rng.random(n)[rows]
                choice = np.add.reduce([drawn >= threshold[context] for threshold in thresholds], dtype=np.int64)
            goes_on = choice != end
            rows, context, choice = rows[goes_on], context[goes_on], choice[goes_on]
            if place == max_new_symbols or not len(rows):
                break
            codes = self.symbols[choice]
            columns.append(np.zeros(n, np.uint8))
            columns[-1][rows] = codes
            lengths[rows] += 1
            (context,) = self.step((context,), codes)
        finished = np.ones(n, np.bool_)
        finished[rows] = False
        codes = np.stack(columns, axis=1) if columns else np.zeros((n, 0), np.uint8)
        return WordBatch.from_codes(codes, lengths), finished

    def log_probability(self, words: WordBatch) -> FloatArray:
        """Return (N,) float64: the log-probability of each word and its end, in nats; -inf for an impossible word.

        >>> source = Source("coin", ("a", "b"), 0, np.array([[0.5, 0.0, 0.5]]))
        >>> source.log_probability(WordBatch.from_strings(["", "a", "b"])).round(2).tolist()
        [-0.69, -1.39, -inf]
        """
        column = np.full(256, len(self.alphabet))
        column[self.symbols] = np.arange(len(self.alphabet))
        with np.errstate(divide="ignore"):
            logs = np.log(self.table)
        state, total = self.start(len(words)), np.zeros(len(words))
        # The place after the last symbol counts as the end, and later places add nothing.
        for place in range(words.codes.shape[1] + 1):
            codes = words.codes[:, place] if place < words.codes.shape[1] else np.zeros(len(words), np.uint8)
            total += np.where(place <= words.lengths, logs[state[0], column[codes]], 0.0)
            state = self.step(state, codes)
        return total


class GraphCompletions(Machine):
    """A source that continues prompts in several graphs side by side, and emits only symbols that it can emit.

    The first register is the number of the state, where the states of the first graph come first; the second register
    is the context of the source.
    """

    def __init__(self, source: Source, graphs: Sequence[Graph]) -> None:
        sizes = np.array([len(graph) for graph in graphs])
        first = (sizes.cumsum() - sizes).repeat(sizes)[:, None]
        following = np.concatenate([graph.following for graph in graphs])
        self._following = np.where(following == NOWHERE, NOWHERE, following + first)
        self._accepting = np.concatenate([graph.accepting for graph in graphs])
        self._source = source
        self._column = np.zeros(256, np.int64)
        self._column[source.symbols] = np.arange(len(source.symbols))
        self._possible = source.table > 0

    def start(self, n: int) -> State:
        """Return the state of the empty prompt in the first graph."""
        return (np.zeros(n, np.int64), *self._source.start(n))

    def step(self, state: State, codes: ByteArray) -> State:
        """Return the state after the source emits the symbol."""
        number, context = state
        column = self._column[codes]
        after = np.where(self._possible[context, column], self._following[number, column], NOWHERE)
        return (after, *self._source.step((context,), codes))

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the machine of the graph accepts."""
        return np.asarray(self._accepting[state[0]])

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the machine of the graph is alive, and the source emits the symbols."""
        return np.asarray(state[0] != NOWHERE)


def success_probabilities(graph: Graph, source: Source, steps: int) -> FloatArray:
    """Return (S,) float64: the probability that a completion from each state ends in time and is accepted.

    Args:
        graph: The explored states of `GraphCompletions`.
        source: The source of the completions.
        steps: The largest number of symbols in a completion.
    """
    table = source.table[graph.states[1]]
    emitted, ending = np.ascontiguousarray(table[:, :-1].T), table[:, -1] * graph.accepting
    following = np.ascontiguousarray(graph.following.T)
    # The last value stands for NOWHERE, from which no completion succeeds.
    values = np.append(ending, 0.0)
    # The number of states that at most d symbols reach. With n symbols left, a completion is in one of the states for
    # d = steps - n.
    reached = np.searchsorted(graph.depth, np.arange(steps), side="right")
    for size in reached[::-1]:
        after = (emitted[:, :size] * values[following[:, :size]]).sum(axis=0)
        values[:size] = ending[:size] + after
    return values[:-1]


def uniform(language: Language) -> Source:
    """Return the source that draws each symbol, and the end, with probability 1 / (k + 1)."""
    k = len(language.alphabet)
    return Source("uniform", language.alphabet, 0, np.full((1, k + 1), 1 / (k + 1)))


def always_stop(language: Language) -> Source:
    """Return the source that ends every completion at once."""
    table = np.zeros((1, len(language.alphabet) + 1))
    table[0, -1] = 1.0
    return Source("always-stop", language.alphabet, 0, table)


def ngram(language: Language, words: WordBatch, n: int) -> Source:
    """Return the source with the relative frequencies of n-grams in training words (for n = 1, of symbols and ends).

    After a context that never occurs, the source uses the longest suffix of the context that does occur (back-off
    without smoothing).

    Args:
        language: The language, whose alphabet the source has.
        words: The training words.
        n: The number of symbols of an n-gram, 1 or more.

    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("anbn")
    >>> ngram(lang, WordBatch.from_strings(["ab", "aabb"]), 2).table.round(2).tolist()
    [[1.0, 0.0, 0.0], [0.33, 0.67, 0.0], [0.0, 0.33, 0.67]]
    """
    base, table = len(language.alphabet) + 1, _frequencies(language, words, 0)
    for order in range(1, n):
        longer = _frequencies(language, words, order)
        # To drop the earliest symbol of a context is to take its number modulo a smaller power of the base.
        shorter = table[np.arange(base**order) % base ** (order - 1)]
        table = np.where(longer.sum(axis=1, keepdims=True) > 0, longer, shorter)
    return Source(f"{n}-gram", language.alphabet, n - 1, table)


def _frequencies(language: Language, words: WordBatch, order: int) -> FloatArray:
    """Return ((k + 1)^order, k + 1) float64: relative frequencies; a row of zeros for a context that never occurs."""
    k = len(language.alphabet)
    counter = Source("", language.alphabet, order, np.zeros((1, 1)))
    cells = (k + 1) ** order * (k + 1)
    counts = np.zeros(cells)
    digit = np.zeros(256, np.int64)
    digit[counter.symbols] = np.arange(k)
    state = counter.start(len(words))
    for place in range(words.codes.shape[1] + 1):
        inside, ends = place < words.lengths, place == words.lengths
        counts += np.bincount(state[0][ends] * (k + 1) + k, minlength=cells)
        if place < words.codes.shape[1]:
            following = digit[words.codes[inside, place]]
            counts += np.bincount(state[0][inside] * (k + 1) + following, minlength=cells)
            state = counter.step(state, words.codes[:, place])
    counts = counts.reshape(-1, k + 1)
    total: IntArray = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(counts, total, out=np.zeros_like(counts), where=total > 0))
