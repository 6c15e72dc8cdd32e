"""A conjunction of rules as a distribution over words.

The length is uniform among the lengths that the words of the conjunction have, and then each word of that length is
equally likely. Words are counted on the graph of states. Let k be the number of symbols, and W_n(s) the probability
that n symbols drawn uniformly lead from state s to a state in which a word may end. Then k^n W_n(s) words complete a
prefix in state s with n more symbols, and k^n W_n(start) words have n symbols, so that

    p(word of n symbols)             = 1 / (number of lengths) / (k^n W_n(start)),
    p(prefix of m symbols, state s)  = k^(-m) / (number of lengths) * sum over n of W_n(s) / W_(m + n)(start).

The factor of k^(-m) in the second line is the *gain* of the prefix: how much more of the probability the conjunction
gives to the prefix than uniformly drawn symbols do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError

from .brackets import Nested
from .families import Copied
from .graph import NOWHERE, Graph, explore, one_state_graph, product_graph, ways_to_end, ways_to_end_both
from .machine import Machine, State
from .rules import Rule
from .words import BoolArray, ByteArray, FloatArray, IntArray, WordBatch

RuleSet = frozenset[int]
"""A conjunction: the indices of its rules in a list of rules."""

_MOST_DIGITS = 250.0
"""The largest number of decimal digits of the number of all words; more digits exceed floating-point numbers."""

_BATCH = 1 << 17
"""The number of states of conjunctions that are counted together."""


@dataclass(frozen=True, eq=False)
class Program:
    """The words of 1 to L symbols that a graph of S states accepts, as a distribution.

    Attributes:
        graph: The graph of states; state 0 is the state of the empty word.
        max_length: L, the largest length.
        ways: (L + 1, S + 1) float64, W_n(s). The last column is the state of prefixes that are not viable.
    """

    graph: Graph
    max_length: int
    ways: FloatArray
    _gains: dict[int, FloatArray] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, graph: Graph, max_length: int) -> Program:
        """Count the words of a graph."""
        return cls(graph, max_length, ways_to_end(graph, max_length))

    def gain(self, length: int) -> FloatArray:
        """Return (S + 1,) float64: the gain of a prefix of ``length`` symbols in each state."""
        if length not in self._gains:
            self._gains[length] = np.asarray(self._after(length) @ self.ways)
        return self._gains[length]

    def end_gain(self, length: int) -> FloatArray:
        """Return (S + 1,) float64: the gain of a whole word of ``length`` symbols that ends in each state."""
        return np.asarray(self._after(length)[0] * self.ways[0])

    def gain_within(
        self, states: IntArray, length: int, target: Graph, target_states: IntArray, limit: int | None = None
    ) -> FloatArray:
        """Return (N,) float64: the gain of N prefixes, counting only completions that a second graph also accepts.

        Args:
            states: (N,) int64, the state of each prefix in the graph of the program, or `NOWHERE`.
            length: The number of symbols in each prefix.
            target: The second graph.
            target_states: (N,) int64, the state of the second graph before the completion, or `NOWHERE`.
            limit: The largest number of symbols in a completion; None for any number.
        """
        gains = np.zeros(len(states))
        alive = (states != NOWHERE) & (target_states != NOWHERE)
        if alive.any():
            longest = self.max_length - length if limit is None else min(limit, self.max_length - length)
            ways = ways_to_end_both(self.graph, target, states[alive], target_states[alive], longest)
            gains[alive] = self._after(length)[: longest + 1] @ ways
        return gains

    def gain_up_to(self, states: IntArray, length: int, limit: int) -> FloatArray:
        """Return (N,) float64: the gain of N prefixes, counting only completions of at most ``limit`` symbols."""
        longest = min(limit, self.max_length - length)
        return np.asarray(self._after(length)[: longest + 1] @ self.ways[: longest + 1, states])

    def _after(self, length: int) -> FloatArray:
        """Return (L + 1,) float64: 1 / (number of lengths) / W_(length + n)(start) for n new symbols."""
        numbers = self.ways[:, 0].copy()
        # The empty word is in no language.
        numbers[0] = 0.0
        inverse = np.divide(1.0, numbers, out=np.zeros_like(numbers), where=numbers > 0)
        inverse /= max(int((numbers > 0).sum()), 1)
        return np.append(inverse[length:], np.zeros(min(length, self.max_length + 1)))


def log_word_probabilities(numbers: FloatArray, symbols: int) -> FloatArray:
    """Return the log-probability of one word of each length, in nats; -inf where a conjunction has no word.

    Args:
        numbers: (..., L + 1) float64, W_n(start) of each length n.
        symbols: The number of symbols of the alphabet.
    """
    numbers = numbers.copy()
    # The empty word is in no language.
    numbers[..., 0] = 0.0
    with np.errstate(divide="ignore"):
        logs = -np.log(numbers) - np.arange(numbers.shape[-1]) * np.log(symbols)
        logs -= np.log((numbers > 0).sum(axis=-1, keepdims=True))
    return np.asarray(np.where(numbers > 0, logs, -np.inf))


class Programs:
    """The programs of conjunctions of some rules. The words of each program are counted once.

    Args:
        rules: The rules, over the alphabet.
        alphabet: The k symbols.
        max_length: The largest length of a word.

    Raises:
        RuleExtrapError: If the length is too large for floating-point numbers.
    """

    def __init__(self, rules: Sequence[Rule], alphabet: tuple[str, ...], max_length: int) -> None:
        most = int(_MOST_DIGITS / np.log10(len(alphabet)))
        if max_length > most:
            raise RuleExtrapError(
                f"max_length is {max_length}, too large for words over {len(alphabet)} symbols: give {most} or less"
            )
        self.rules, self.alphabet, self.max_length = tuple(rules), alphabet, max_length
        self._graphs: dict[RuleSet, Graph] = {}
        self._programs: dict[RuleSet, Program] = {}
        self._log_words: dict[RuleSet, FloatArray] = {}

    def graph(self, kept: RuleSet) -> Graph:
        """Return the graph of the states that words reach; the conjunction of no rules has one state.

        Raises:
            RuleExtrapError: If a rule has too many states.
        """
        if kept not in self._graphs:
            if len(kept) == 1:
                self._graphs[kept] = self.explored(self.rules[min(kept)])
            elif not kept:
                self._graphs[kept] = one_state_graph(self.alphabet)
            else:
                last = max(kept)
                # There are many conjunctions, so the graph is not stored here; a program stores its graph.
                return product_graph(self.graph(kept - {last}), self.graph(frozenset({last})))
        return self._graphs[kept]

    def program(self, kept: RuleSet) -> Program:
        """Return the program of a conjunction."""
        if kept not in self._programs:
            self._programs[kept] = Program.of(self.graph(kept), self.max_length)
        return self._programs[kept]

    def count(self, conjunctions: Iterable[RuleSet]) -> None:
        """Count the words of conjunctions for `log_word`, many conjunctions in one pass."""
        waiting: dict[RuleSet, Graph] = {}
        states = 0
        for kept in conjunctions:
            if kept not in self._log_words and kept not in waiting:
                waiting[kept] = self.graph(kept)
                states += len(waiting[kept])
            if states > _BATCH:
                self._count(waiting)
                waiting, states = {}, 0
        self._count(waiting)

    def _count(self, graphs: dict[RuleSet, Graph]) -> None:
        """Count the words of several graphs as the words of one graph with several start states."""
        if not graphs:
            return
        sizes = np.array([len(graph) for graph in graphs.values()])
        starts, total = np.cumsum(sizes) - sizes, int(sizes.sum())
        following = np.concatenate([graph.following for graph in graphs.values()])
        shifted = np.where(following == NOWHERE, total, following + starts.repeat(sizes)[:, None])
        by_symbol = np.ascontiguousarray(shifted.T)
        ways = np.append(np.concatenate([graph.accepting for graph in graphs.values()]), False).astype(np.float64)
        numbers = np.zeros((len(graphs), self.max_length + 1))
        for length in range(1, self.max_length + 1):
            ways[:-1] = ways[by_symbol].sum(axis=0) / len(by_symbol)
            numbers[:, length] = ways[starts]
        self._log_words.update(zip(graphs, log_word_probabilities(numbers, len(self.alphabet)), strict=True))

    def log_word(self, kept: RuleSet) -> FloatArray:
        """Return (L + 1,) float64: the log-probability of one word of each length, in nats; -inf without a word."""
        if kept not in self._log_words:
            self.count([kept])
        return self._log_words[kept]

    def implies(self, kept: RuleSet, rule: int) -> bool:
        """Return whether each word of a conjunction, up to the largest length, keeps a rule."""
        if rule in kept:
            return True
        # If so, the conjunction with the rule has the same number of words of each length.
        return bool(np.allclose(self.log_word(kept), self.log_word(kept | {rule}), rtol=1e-9, atol=0))

    def same_words(self, kept: RuleSet, other: RuleSet) -> bool:
        """Return whether two conjunctions have the same words up to the largest length."""
        return all(self.implies(kept, rule) for rule in other) and all(self.implies(other, rule) for rule in kept)

    def explored(self, rule: Rule) -> Graph:
        """Return the graph of the states of a rule that words up to the largest length pass through.

        Raises:
            RuleExtrapError: If the rule has too many states.
        """
        try:
            return explore(_Bounded(rule, self.max_length // 2), self.alphabet, self.max_length).useful()
        except RuleExtrapError:
            raise RuleExtrapError(
                f"the words of up to {self.max_length} symbols cannot be counted, because the rule {rule.summary!r} "
                f"has too many states: give max_length {self._longest(rule)} or less"
            ) from None

    def _longest(self, rule: Rule) -> int:
        """Return the largest length at which the states of a rule can be explored."""
        length = 1
        while True:
            try:
                explore(_Bounded(rule, (length + 1) // 2), self.alphabet, length + 1)
            except RuleExtrapError:
                return length
            length += 1


@dataclass(frozen=True)
class _Bounded(Machine):
    """A rule without the states whose memory is too large for a word of the largest length.

    A memory of n symbols takes n symbols to fill, and n more symbols until the rule holds: they close n brackets, or
    copy n symbols.
    """

    rule: Rule
    most: int

    def start(self, n: int) -> State:
        return self.rule.start(n)

    def step(self, state: State, codes: ByteArray) -> State:
        return self.rule.step(state, codes)

    def accepts(self, state: State) -> BoolArray:
        return self.rule.accepts(state)

    def alive(self, state: State) -> BoolArray:
        alive = self.rule.alive(state)
        if isinstance(self.rule, (Nested, Copied)):
            alive = alive & (self.rule.depth(state) <= self.most)
        return alive


def subsets(kept: RuleSet) -> list[RuleSet]:
    """Return all subsets of a conjunction, including the empty one and the conjunction itself."""
    rules = sorted(kept)
    return [
        frozenset(rule for rule, stays in zip(rules, choice, strict=True) if stays)
        for choice in product((False, True), repeat=len(rules))
    ]


@dataclass(frozen=True, eq=False)
class Walk:
    """The states of N prefixes of one length in the graphs of a mixture of programs.

    Attributes:
        parts: The programs and their shares in the mixture.
        states: For each program, (N,) int64, the state of each prefix.
    """

    parts: list[tuple[Program, float]]
    states: list[IntArray]

    @classmethod
    def of(cls, programs: Programs, shares: Mapping[RuleSet, float], words: WordBatch) -> Walk:
        """Read N prefixes of one length in the programs of a mixture.

        Args:
            programs: The programs.
            shares: The share of each conjunction's program in the mixture.
            words: The prefixes.
        """
        parts = [(programs.program(kept), share) for kept, share in shares.items()]
        return cls(parts, [program.graph.read(words) for program, _ in parts]).take(np.ones(len(words), np.bool_))

    def next_symbol(self, length: int) -> FloatArray:
        """Return (N, k + 1) float64: the probability of each symbol, and of the end (last column), after each prefix.

        Args:
            length: The number of symbols in each prefix.
        """
        table = sum(share * gain for share, gain in self._gains(length))
        assert isinstance(table, np.ndarray)
        return np.asarray(table / table.sum(axis=1, keepdims=True))

    def _gains(self, length: int) -> Iterator[tuple[float, FloatArray]]:
        """Yield for each program its share, and (N, k + 1) the gains of the next symbols and of the end."""
        for (program, share), states in zip(self.parts, self.states, strict=True):
            k, longest = len(program.graph.alphabet), program.max_length
            gain = np.zeros((len(states), k + 1))
            if length < longest:
                # The gain is relative to uniform symbols, each of which has probability 1 / k.
                gain[:, :k] = program.gain(length + 1)[_after(program, states)] / k
            gain[:, k] = program.end_gain(length)[states]
            yield share, gain

    def step(self, choice: IntArray) -> Walk:
        """Return the walk after one more symbol of each prefix; ``choice`` is (N,), the symbols by their index."""
        rows = np.arange(len(choice))
        after = [
            _after(program, states)[rows, choice] for (program, _), states in zip(self.parts, self.states, strict=True)
        ]
        return Walk(self.parts, after)

    def take(self, rows: BoolArray) -> Walk:
        """Return the walk of some prefixes, without the programs that refute all of them."""
        pairs = [(part, states[rows]) for part, states in zip(self.parts, self.states, strict=True)]
        alive = [(part, states) for part, states in pairs if (states != NOWHERE).any()]
        return Walk([part for part, _ in alive], [states for _, states in alive])


def _after(program: Program, states: IntArray) -> IntArray:
    """Return (N, k) int64: the state after each symbol."""
    return np.where(states[:, None] == NOWHERE, NOWHERE, program.graph.following[states])
