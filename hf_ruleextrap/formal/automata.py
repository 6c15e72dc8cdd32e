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
    """A rule that a deterministic finite automaton decides. The register holds the number of the state, 0 at the start.

    Attributes:
        symbols: The k symbols that the automaton distinguishes.
        table: For each state, the next state for each of the k symbols, and last the next state for any other symbol.
        accepting: The states in which a word may end.
    """

    symbols: tuple[str, ...]
    table: tuple[tuple[int, ...], ...]
    accepting: tuple[int, ...]

    finite = True

    @cached_property
    def _following(self) -> npt.NDArray[np.uint16]:
        """(S, 256) uint16: the next state for each state and code. Padding does not change the state."""
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
        """(S,) bool: whether an accepting state can be reached from each state.

        The symbols are those of the alphabet, or, for a rule without a language, all symbols. The search goes
        backwards from the accepting states until it reaches no further state.
        """
        codes = [ord(symbol) for symbol in self.alphabet] if self.alphabet else list(range(256))
        table, alive = self._following[:, codes], self._accepting
        while (more := alive | alive[table].any(axis=1)).sum() > alive.sum():
            alive = more
        return alive

    def start(self, n: int) -> State:
        """Return state 0 for each word."""
        return (np.zeros(n, np.uint16),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Look up the next state."""
        return (self._following[state[0], codes],)

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the state is accepting."""
        return self._accepting[state[0]]

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether an accepting state can be reached."""
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
    """Return the rule of a finite automaton whose transitions are a function; the states are enumerated from the start.

    Args:
        symbols: The symbols that ``step`` distinguishes.
        start: The first state, a hashable object.
        step: The function from a state and a symbol to the next state. The symbol ``""`` stands for any other symbol.
            The function returns None where the word is not viable.
        accepts: Whether a word may end in a state; by default, a word may end in every state.
        name: The name of the rule.
        summary: The rule as a sentence.

    Raises:
        RuleExtrapError: The automaton has more than 10,000 states.

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
            raise RuleExtrapError(
                f"the automaton of {name} has more than {_MOST_STATES:,} states: "
                "give a step function that reaches fewer states"
            )
    accepting = tuple(i for i, node in enumerate(nodes) if node is not None and accepts(node))
    return FiniteAutomaton(tuple(symbols), tuple(table), accepting, name=name, summary=summary)


@combinator
def ends_with(symbol: str) -> Rule:
    """Return the rule that the word ends with a symbol.

    >>> ends_with("b").holds(["ab", "ba", ""]).tolist()
    [True, False, False]
    """
    return finite_automaton(
        symbol, False, lambda _, s: s == symbol, bool, name=f"ends_with_{symbol}", summary=f"ends with {symbol}"
    )
