"""The joint viability of rules: whether some suffix extends a prefix to a word that keeps all of them.

Three cases are decided exactly, for words of any length:

* finitely many states (`Finite`), by a search backwards from the accepting states of the product;
* one rule with a counter and one with finitely many states (`OneCounter`);
* equal counts of three symbols and a rule with finitely many states that leaves the counts free
  (`leaves_counts_free`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError

from .graph import NOWHERE, Graph, explore, locate
from .machine import Machine, Register, State
from .rules import Rule
from .words import BoolArray, symbol_codes

_NEAR = 4
_MOST_CELLS = 1 << 16


class Finite:
    """The joint viability of rules whose product has finitely many states.

    >>> from hf_ruleextrap.formal.machine import Conjunction
    >>> from hf_ruleextrap.formal.automata import at_most
    >>> from hf_ruleextrap.formal.rules import even_count
    >>> from hf_ruleextrap.formal.words import WordBatch
    >>> machine = Conjunction([even_count("a"), at_most("a", 1)])
    >>> Finite(machine, "ab").alive(machine.read(WordBatch.from_strings(["b", "ab"]))).tolist()
    [True, False]
    """

    def __init__(self, machine: Machine, alphabet: Sequence[str]) -> None:
        graph = explore(machine, alphabet)
        if graph.distance[0] < 0:
            raise RuleExtrapError("the rules exclude each other: no word keeps them all")
        self.graph = graph.useful()
        self._lows = [int(register.min()) for register in self.graph.states]
        self._sizes = [int(r.max()) - low + 1 for r, low in zip(self.graph.states, self._lows, strict=True)]
        self._table: BoolArray | None = None
        # A look-up in a small table takes a tenth of the time of a search among the states.
        if all(register.ndim == 1 for register in self.graph.states) and prod(self._sizes) <= _MOST_CELLS:
            self._table = np.zeros(self._sizes, np.bool_)
            self._table[self._place(self.graph.states)] = True

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether some suffix makes all rules hold."""
        if self._table is None:
            return np.asarray(self.graph.locate(state) != NOWHERE)
        inside_table = np.ones(len(state[0]), np.bool_)
        for register, low, size in zip(state, self._lows, self._sizes, strict=True):
            inside_table &= (register >= low) & (register < low + size)
        # A register outside the table is replaced by a valid index; its result is False anyway.
        valid = tuple(np.where(inside_table, r, low) for r, low in zip(state, self._lows, strict=True))
        return inside_table & self._table[self._place(valid)]

    def _place(self, state: State) -> tuple[Register, ...]:
        """Return each register as an index into the table."""
        return tuple(register.astype(np.int64) - low for register, low in zip(state, self._lows, strict=True))


class OneCounter:
    """The joint viability of a rule with a counter and a rule with finitely many states.

    Let the second rule have n states, and let each symbol change the counter by at most one. Take a shortest suffix
    from counter d to an accepting state, and suppose that the counter rises more than n^2 above both d and its final
    value. For each level in between, consider the finite states when the suffix is at this level for the last time
    before the peak and for the first time after the peak. Two levels have the same pair of states. The symbols between
    these two levels can be removed on both sides of the peak, which gives a shorter suffix: a contradiction. The same
    argument holds downwards. So the finite graph of the counters up to D + n^2 decides every counter up to D, and D is
    the largest counter in a state.

    Args:
        counter: A rule with one integer register, such as `equal_counts` of two symbols or `balanced`.
        finite: A rule with finitely many states.
        alphabet: The symbols.
    """

    def __init__(self, counter: Rule, finite: Rule, alphabet: Sequence[str]) -> None:
        self.counter, self.alphabet = counter, tuple(alphabet)
        self.finite = explore(finite, alphabet)
        self._tables: dict[int, BoolArray] = {}

    def alive(self, counter: State, finite: State) -> BoolArray:
        """Return (N,) bool: whether some suffix makes both rules hold."""
        (value,) = counter
        place = self.finite.locate(finite)
        # The size is a power of two, so that there are few tables.
        most = 1 << max(5, int(np.abs(value).max(initial=0)).bit_length())
        if most not in self._tables:
            self._tables[most] = self._table(most)
        table = self._tables[most]
        middle = len(table) // 2
        return np.asarray((place != NOWHERE) & table[value + middle, place])

    def _table(self, most: int) -> BoolArray:
        """Return (2 Z + 1, n) bool, Z = most + n^2: the viability of each counter (from -Z) and finite state."""
        n = len(self.finite)
        size = most + n * n
        values = np.arange(-size, size + 1).astype(self.counter.start(0)[0].dtype)
        graph = grid((values,), self.counter, self.finite, self.alphabet)
        return np.asarray(graph.distance >= 0).reshape(len(values), n)


def grid(values: State, counters: Rule, finite: Graph, alphabet: Sequence[str]) -> Graph:
    """Return the product of some counter values with a finite graph; a step that leaves the values leads to `NOWHERE`.

    Args:
        values: V combinations of the registers of ``counters``.
        counters: The rule with counters.
        finite: A closed graph with n states.
        alphabet: The k symbols.

    Returns:
        A graph of V n states, in which the finite state changes fastest; its state 0 and depths have no meaning.
    """
    n, count = len(finite), len(values[0])
    columns = []
    for i, code in enumerate(symbol_codes(alphabet)):
        after = counters.step(values, np.full(count, code, np.uint8))
        target = np.where(counters.alive(after), locate(values, after), NOWHERE)
        here = finite.following[:, i]
        joint = np.where((target[:, None] >= 0) & (here >= 0), target[:, None] * n + here, NOWHERE)
        columns.append(np.where(counters.alive(values)[:, None], joint, NOWHERE).ravel())
    accepting = (counters.alive(values) & counters.accepts(values))[:, None] & finite.accepting
    states = tuple(register.repeat(n, axis=0) for register in values)
    return Graph(
        tuple(alphabet), states, np.stack(columns, axis=1), accepting.ravel(), np.zeros(count * n, np.int64), None
    )


def leaves_counts_free(counts: Rule, finite: Rule, alphabet: Sequence[str]) -> bool:
    """Return whether, from every viable state of a finite rule, suffixes change the three counts by any differences.

    The result is True if each viable state leads to a *free* state. A state is free if words that lead from the state
    back to itself change the two differences by (1, 0), by (-1, 0), by (0, 1) and by (0, -1). Concatenations of these
    words change the differences by any amount. So a prefix is viable as soon as it is viable for the finite rule. The
    conjunction is not context-free: let x lead to a free state; let u, v and w lead from there back with the changes
    (1, 0), (0, 1) and (-1, -1); and let y lead to acceptance. For suitable y, x u^i v^j w^k y keeps both rules only for
    i = j = k, and context-free languages are closed under the operations that lead from there to a^i b^i c^i
    (intersection with x u* v* w* y, quotients, inverse homomorphisms).

    Args:
        counts: The rule `equal_counts` of three symbols.
        finite: A rule with finitely many states.
        alphabet: The symbols.
    """
    around = np.array(list(product(range(-_NEAR, _NEAR + 1), repeat=2)), np.int32)
    graph = explore(finite, alphabet).useful()
    if graph.distance[0] < 0:
        return False
    joint = grid((around[:, 0], around[:, 1]), counts, graph, alphabet)
    row = {(int(a), int(b)): i for i, (a, b) in enumerate(around)}
    n = len(graph)
    free = np.zeros(n, np.bool_)
    for state in range(n):
        reached = reachable(joint, row[0, 0] * n + state)
        free[state] = all(reached[row[d] * n + state] for d in ((1, 0), (-1, 0), (0, 1), (0, -1)))
    return all(free[reachable(graph, state)].any() for state in range(n))


def reachable(graph: Graph, start: int) -> BoolArray:
    """Return (S,) bool: whether words lead from a state to each state; a state leads to itself."""
    seen = np.zeros(len(graph) + 1, np.bool_)
    frontier = np.array([start])
    while len(frontier):
        seen[frontier] = True
        after = np.unique(graph.following[frontier])
        frontier = after[(after != NOWHERE) & ~seen[after]]
    return seen[:-1]
