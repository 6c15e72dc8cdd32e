"""The graph of the states of a machine that words reach.

Questions about all words of a length (their number, a random word, whether any word exists) are answered from the
states, which are far fewer: a handful for phases and parities, about as many as the length for one counter, and its
square for two counters. A stack has one state for each content, so only short words can be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError

from .machine import Machine, Numbering, State, distinct, joined
from .words import BoolArray, ByteArray, FloatArray, IntArray, WordBatch, symbol_codes

MOST_STATES = 1 << 18
"""The largest number of states that are explored."""

NOWHERE = -1
"""The state number after a symbol that leaves no viable prefix."""


_DENSE = 1 << 14
"""The largest product of two graphs that is built with all pairs of states, and not only those that words reach."""

_MOST_MARKS = 1 << 27
"""The largest product of two graphs whose pairs are marked in one array, of one byte each."""


@dataclass(frozen=True, eq=False)
class Graph:
    """The S states that words reach, in the order of a breadth-first search; state 0 is that of the empty word.

    Attributes:
        alphabet: The k symbols.
        states: The registers of the machine, with one row for each state.
        following: (S, k) int64, the state after each symbol; ``NOWHERE`` where the machine is no longer alive, and
            where a word would be longer than the limit.
        accepting: (S,) bool.
        depth: (S,) int64, the length of the shortest word that leads to the state.
        max_length: The length of the longest words that are followed; None for a closed graph, which has no limit.
    """

    alphabet: tuple[str, ...]
    states: State
    following: IntArray
    accepting: BoolArray
    depth: IntArray
    max_length: int | None

    def __len__(self) -> int:
        return len(self.depth)

    @cached_property
    def distance(self) -> IntArray:
        """(S,) int64: the smallest number of further symbols to an accepted word; -1 if there is no such word."""
        distance = np.where(self.accepting, 0, -1)
        # A last row for NOWHERE, which is never reached.
        for step in range(1, len(self) + 1):
            reached = (np.append(distance, -1)[self.following] >= 0).any(axis=1) & (distance < 0)
            if not reached.any():
                break
            distance[reached] = step
        return np.asarray(distance)

    def useful(self) -> Graph:
        """Return the graph without the states that lead to no accepted word within the limit; state 0 always stays."""
        distance = self.distance
        keep = distance >= 0
        if self.max_length is not None:
            keep &= self.depth + distance <= self.max_length
        keep[0] = True
        return self.take(keep)

    def take(self, keep: BoolArray) -> Graph:
        """Return the graph of some states, renumbered in their order; state 0 must be among them."""
        number = np.append(np.where(keep, np.cumsum(keep) - 1, NOWHERE), NOWHERE)
        return Graph(
            alphabet=self.alphabet,
            states=tuple(register[keep] for register in self.states),
            following=number[self.following[keep]],
            accepting=self.accepting[keep],
            depth=self.depth[keep],
            max_length=self.max_length,
        )

    def locate(self, state: State) -> IntArray:
        """Return (N,) int64: the number of the state that each row of registers equals, or ``NOWHERE``."""
        return locate(self.states, state)

    def read(self, words: WordBatch) -> IntArray:
        """Return (N,) int64: the state of each word, or ``NOWHERE`` for a word that leaves the graph."""
        table = np.full((len(self) + 1, 256), NOWHERE)
        table[:-1, symbol_codes(self.alphabet)] = self.following
        # Padding does not change the state.
        table[:, 0] = np.append(np.arange(len(self)), NOWHERE)
        state = np.zeros(len(words), np.int64)
        for codes in np.ascontiguousarray(words.codes.T):
            state = table[state, codes]
        return state


def explore(
    machine: Machine,
    alphabet: Sequence[str],
    max_length: int | None = None,
    *,
    start: State | None = None,
    most_states: int = MOST_STATES,
    shorten: bool = False,
    watch: Callable[[int, int], None] | None = None,
) -> Graph:
    """Return the states that words reach and in which the machine is alive.

    Args:
        machine: A rule, or a language.
        alphabet: The k symbols that the machine reads.
        max_length: The largest number of symbols in a word. None explores until there is no new state, which ends only
            for a finite-state machine.
        start: The distinct states, alive or not, from which words start. By default, the state of the empty word. The
            states get the first numbers, and ``depth`` counts symbols from there.
        most_states: The largest number of states.
        shorten: Whether to follow only shorter words where words of ``max_length`` symbols lead to too many states. The
            ``max_length`` of the graph is then the length that was reached.
        watch: A function that is called with each length and the number of states that words up to this length reach.
            The function may raise an error.

    Raises:
        RuleExtrapError: If there are more states than ``most_states``, and ``shorten`` is False.

    >>> from hf_ruleextrap.formal.rules import even_count, equal_counts
    >>> explore(even_count("a"), "ab").following.tolist()
    [[1, 0], [0, 1]]
    >>> len(explore(equal_counts("a", "b"), "ab", 10))
    21
    """
    symbols = symbol_codes(alphabet)
    frontier = machine.start(1) if start is None else start
    numbering, depth = Numbering(frontier), [np.zeros(len(frontier[0]), np.int64)]
    following: list[IntArray] = []
    while len(frontier[0]) and (max_length is None or len(following) < max_length):
        after = _after(machine, frontier, symbols)
        alive = np.flatnonzero(machine.alive(after))
        after = tuple(register[alive] for register in after)
        numbers, new = numbering.number(after)
        if numbering.size + len(new) > most_states and shorten:
            max_length = len(following)
            break
        if numbering.size + len(new) > most_states:
            raise _too_many(max_length, len(following), most_states)
        target = np.full(len(frontier[0]) * len(symbols), NOWHERE)
        target[alive] = numbers
        following.append(target.reshape(-1, len(symbols)))
        depth.append(np.full(len(new), len(following)))
        frontier = tuple(register[new] for register in after)
        numbering.append(frontier)
        if watch is not None:
            watch(len(following), numbering.size)
    following.append(np.full((len(frontier[0]), len(symbols)), NOWHERE))
    return Graph(
        alphabet=tuple(alphabet),
        states=numbering.states,
        following=np.concatenate(following),
        accepting=machine.accepts(numbering.states),
        depth=np.concatenate(depth),
        max_length=max_length,
    )


def locate(states: State, state: State) -> IntArray:
    """Return (N,) int64: the index, among S different states, of the state that each row equals, or `NOWHERE`."""
    size = len(states[0])
    first, place = distinct(tuple(joined(old, new) for old, new in zip(states, state, strict=True)))
    return np.where(first < size, first, NOWHERE)[place[size:]]


def shortest_length(machine: Machine, alphabet: Sequence[str], *, most_states: int = MOST_STATES) -> int:
    """Return the length of the shortest non-empty word that a machine accepts.

    Raises:
        RuleExtrapError: If the machine accepts no word, or has too many states to decide this.

    >>> from hf_ruleextrap.formal.rules import equal_counts
    >>> shortest_length(equal_counts("a", "b", "c"), "abc")
    3
    """
    max_length = 8
    while True:
        graph = explore(machine, alphabet, max_length, most_states=most_states)
        distance = np.append(graph.distance, NOWHERE)[graph.following[0]]
        shortest = int(distance[distance >= 0].min(initial=max_length)) + 1
        # Beyond the limit, a shorter word may exist that the graph does not contain.
        if shortest <= max_length:
            return shortest
        if graph.depth.max() < max_length:
            raise RuleExtrapError("the rules exclude each other: no word keeps them all")
        max_length *= 2


def one_state_graph(alphabet: tuple[str, ...]) -> Graph:
    """Return the graph with one state, which accepts every word."""
    following, depth = np.zeros((1, len(alphabet)), np.int64), np.zeros(1, np.int64)
    return Graph(alphabet, (), following, np.ones(1, np.bool_), depth, None)


def ways_to_end(graph: Graph, longest: int) -> FloatArray:
    """Return (longest + 1, S + 1) float64: how probably n uniform symbols lead from a state to the end of a word."""
    ways = np.zeros((longest + 1, len(graph) + 1))
    ways[0, :-1] = graph.accepting
    by_symbol = np.ascontiguousarray(graph.following.T)
    for n in range(1, longest + 1):
        ways[n, :-1] = ways[n - 1][by_symbol].sum(axis=0) / len(by_symbol)
    return ways


def product_graph(first: Graph, second: Graph) -> Graph:
    """Return the graph of the pairs of states that words reach; its depths mean nothing.

    Args:
        first: A graph.
        second: Another graph over the same alphabet, whose states change fastest.
    """
    n, m = len(first), len(second)
    pairs = np.arange(n * m)
    if n * m > _DENSE:
        pairs = np.sort(np.concatenate(list(_layers(first, second, np.zeros(1, np.int64)))))
    after = _following(first, second, pairs)
    if n * m > _DENSE:
        after = np.where(after == NOWHERE, NOWHERE, np.searchsorted(pairs, after))
    accepting: BoolArray = first.accepting[pairs // m] & second.accepting[pairs % m]
    return Graph(first.alphabet, (), after, accepting, np.zeros(len(pairs), np.int64), None)


def ways_to_end_both(
    first: Graph, second: Graph, first_states: IntArray, second_states: IntArray, longest: int
) -> FloatArray:
    """Return the probability that n uniform symbols lead from pairs of states to the end of a word of both graphs.

    Only pairs of states are followed that a symbol sequence of the length can pass through: for a stack, these are far
    fewer than all pairs that are reached.

    Args:
        first: A graph.
        second: Another graph over the same alphabet.
        first_states: (N,) int64, the state of each pair in the first graph, never `NOWHERE`.
        second_states: (N,) int64, the state of each pair in the second graph, never `NOWHERE`.
        longest: The largest n.

    Returns:
        (longest + 1, N) float64, by n.
    """
    m, k = len(second), len(first.alphabet)
    starts = first_states * m + second_states
    layers = list(_layers(first, second, np.unique(starts), longest))
    pairs = np.concatenate(layers)
    order = pairs.argsort()
    least = _fewest_symbols(first, second, pairs)
    following = _following(first, second, pairs)
    place = np.minimum(np.searchsorted(pairs[order], following), len(pairs) - 1)
    # Pairs that lie in no layer cannot lead to an end in time; like NOWHERE, they have the last number.
    numbers = np.where(pairs[order[place]] == following, order[place], len(pairs))
    by_symbol = np.ascontiguousarray(numbers.T)
    rows = order[np.searchsorted(pairs[order], starts)]
    values = np.zeros(len(pairs) + 1)
    values[:-1] = first.accepting[pairs // m] & second.accepting[pairs % m]
    ways = [values[rows]]
    sizes = np.cumsum([len(layer) for layer in layers])
    for n in range(1, longest + 1):
        # With n symbols left, a completion is in one of the first layers.
        size = sizes[min(longest - n, len(sizes) - 1)]
        possible = np.flatnonzero(least[:size] <= n)
        values[possible] = values[by_symbol[:, possible]].sum(axis=0) / k
        ways.append(values[rows])
    return np.stack(ways)


def _fewest_symbols(first: Graph, second: Graph, pairs: IntArray) -> IntArray:
    """Return (N,) a lower bound of the number of symbols to the end of a word; very large where there is no end."""
    parts = first.distance[pairs // len(second)], second.distance[pairs % len(second)]
    return np.maximum(*(np.where(part < 0, np.iinfo(np.int64).max, part) for part in parts))


def _following(first: Graph, second: Graph, pairs: IntArray) -> IntArray:
    """Return (N, k): the pair after each symbol; the number of pair (i, j) is i * len(second) + j."""
    left, right = first.following[pairs // len(second)], second.following[pairs % len(second)]
    return np.where((left < 0) | (right < 0), NOWHERE, left * len(second) + right)


def _layers(first: Graph, second: Graph, starts: IntArray, longest: int | None = None) -> Iterator[IntArray]:
    """Yield the new pairs of states after 0 symbols, after 1, and so on, in ascending order.

    Args:
        first: A graph.
        second: Another graph over the same alphabet.
        starts: The pairs after 0 symbols, in ascending order.
        longest: Whether to leave out pairs from which no word ends before this number of symbols; None for no limit.
    """
    # A mark for each pair is much faster than sorting, as long as the marks fit into memory.
    size = len(first) * len(second)
    marked = np.zeros(size, np.bool_) if size <= _MOST_MARKS else None
    seen = frontier = starts
    length = 0
    while len(frontier):
        yield frontier
        length += 1
        after = np.unique(_following(first, second, frontier))
        after = after[after != NOWHERE]
        if longest is not None:
            after = after[_fewest_symbols(first, second, after) <= longest - length]
        if marked is None:
            frontier = np.setdiff1d(after, seen, assume_unique=True)
            seen = np.union1d(seen, frontier)
        else:
            marked[frontier] = True
            frontier = after[~marked[after]]


def _after(machine: Machine, states: State, symbols: ByteArray) -> State:
    """Return the states after each symbol: those that follow the first state, then the second state, and so on."""
    n, k = len(states[0]), len(symbols)
    return machine.step(tuple(register.repeat(k, axis=0) for register in states), np.tile(symbols, n))


def _too_many(max_length: int | None, reached: int, most_states: int) -> RuleExtrapError:
    wanted = "words of any length" if max_length is None else f"words of {max_length} symbols"
    return RuleExtrapError(
        f"{wanted} lead to too many states to follow them exactly: more than {most_states} after {reached + 1} "
        "symbols. Give a smaller max_length, or define draw and log_probability in the language"
    )
