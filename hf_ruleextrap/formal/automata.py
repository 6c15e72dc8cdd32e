"""Rules that a finite automaton decides."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hf_ruleextrap.errors import RuleExtrapError

from .machine import State
from .rules import Rule, combinator
from .words import PAD_CODE, BoolArray, ByteArray

_MOST_STATES = 10_000

Node = TypeVar("Node", bound=Hashable)


@dataclass(frozen=True)
class FiniteAutomaton(Rule):
    """A deterministic finite automaton. Register: the number of its state, 0 at the start.

    Attributes:
        symbols: the k symbols that it tells apart.
        table: for each state, the state after each symbol, and last after any other symbol.
        accepting: the states in which a word may end.
    """

    symbols: tuple[str, ...]
    table: tuple[tuple[int, ...], ...]
    accepting: tuple[int, ...]

    finite = True

    @cached_property
    def _following(self) -> npt.NDArray[np.uint16]:
        """(S, 256) the state after each code; padding leaves it as it is."""
        table = np.array(self.table, np.uint16)
        following = table[:, -1:].repeat(256, axis=1)
        following[:, [ord(symbol) for symbol in self.symbols]] = table[:, :-1]
        following[:, PAD_CODE] = np.arange(len(table))
        return following

    @cached_property
    def _accepting(self) -> BoolArray:
        return np.isin(np.arange(len(self.table)), self.accepting)

    @cached_property
    def _alive(self) -> BoolArray:
        """(S,) bool: backwards from the accepting states until there is nothing new.

        Over the symbols of the alphabet; of a rule on its own, over any.
        """
        codes = [ord(symbol) for symbol in self.alphabet] if self.alphabet else list(range(256))
        table, alive = self._following[:, codes], self._accepting
        while (more := alive | alive[table].any(axis=1)).sum() > alive.sum():
            alive = more
        return alive

    def start(self, n: int) -> State:
        """State 0."""
        return (np.zeros(n, np.uint16),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Look the next state up."""
        return (self._following[state[0], codes],)

    def accepts(self, state: State) -> BoolArray:
        """The state is an accepting one."""
        return self._accepting[state[0]]

    def alive(self, state: State) -> BoolArray:
        """An accepting state can be reached."""
        return self._alive[state[0]]


def finite_automaton(
    symbols: str,
    start: Node,
    step: Callable[[Node, str], Node | None],
    accepts: Callable[[Node], bool] = lambda _: True,
    *,
    name: str,
    summary: str,
) -> Rule:
    """The rule of a finite automaton that is given as a function; its states are found by following it.

    Args:
        symbols: those that ``step`` tells apart.
        start: the first state, anything hashable.
        step: the state after a state and a symbol (or ``""``, which stands for any other symbol); None once the rule
            is broken for good.
        accepts: whether a word may end in a state; by default in any.
        name: of the rule.
        summary: the rule as a sentence.

    Raises:
        RuleExtrapError: more than 10,000 states.

    >>> rule = finite_automaton("a", 0, lambda n, s: (n + (s == "a")) % 3, lambda n: n == 0, name="n", summary="3 | a")
    >>> rule.holds(["aaab", "aa"]).tolist()
    [True, False]
    """
    number: dict[Node | None, int] = {start: 0}
    table: list[tuple[int, ...]] = []
    nodes: list[Node | None] = [start]
    for node in nodes:
        following = [None if node is None else step(node, symbol) for symbol in (*symbols, "")]
        for target in following:
            if target not in number:
                number[target] = len(nodes)
                nodes.append(target)
        table.append(tuple(number[target] for target in following))
        if len(nodes) > _MOST_STATES:
            raise RuleExtrapError(f"{name} has more than {_MOST_STATES} states: a finite automaton needs fewer")
    accepting = tuple(i for i, node in enumerate(nodes) if node is not None and accepts(node))
    return FiniteAutomaton(tuple(symbols), tuple(table), accepting, name=name, summary=summary)


@combinator
def ends_with(symbol: str) -> Rule:
    """The word ends with a symbol.

    >>> ends_with("b").holds(["ab", "ba", ""]).tolist()
    [True, False, False]
    """
    return finite_automaton(
        symbol, False, lambda _, s: s == symbol, bool, name=f"ends_with_{symbol}", summary=f"ends with {symbol}"
    )
