"""Rules that finitely many states can tell: counts modulo a number, bounds, factors, first and last symbols.

Each is a function from a state and a symbol to a state; the table, and which states can still be mended, follow.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .machine import State
from .rules import Rule
from .words import PAD_CODE, BoolArray, ByteArray

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Automaton(Rule):
    """A deterministic finite automaton. Register: the number of the state, 0 at the start.

    Attributes:
        symbols: those that the automaton tells apart.
        following: for each state, the state after each of ``symbols``, and last after any other symbol.
        accepting: for each state, whether a word that ends there keeps the rule.
    """

    symbols: tuple[str, ...]
    following: tuple[tuple[int, ...], ...]
    accepting: tuple[bool, ...]

    @cached_property
    def _table(self) -> npt.NDArray[np.int16]:
        """(S, 256): the state after each code."""
        rows = np.array(self.following, np.int16)
        table = np.repeat(rows[:, -1:], 256, axis=1)
        table[:, [ord(symbol) for symbol in self.symbols]] = rows[:, :-1]
        table[:, PAD_CODE] = np.arange(len(rows))
        return table

    @cached_property
    def _alive(self) -> BoolArray:
        """(S,): can an accepting state be reached with the symbols of the alphabet (with any, where there is none)?"""
        codes = [ord(symbol) for symbol in self.alphabet] if self.alphabet else list(range(256))
        alive = np.array(self.accepting)
        for _ in self.following:
            alive = alive | alive[self._table[:, codes]].any(axis=1)
        return alive

    def start(self, n: int) -> State:
        """State 0."""
        return (np.zeros(n, np.int16),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Look it up."""
        return (self._table[state[0], codes],)

    def accepts(self, state: State) -> BoolArray:
        """The state is an accepting one."""
        return np.asarray(np.array(self.accepting)[state[0]])

    def alive(self, state: State) -> BoolArray:
        """Some accepting state can be reached."""
        return np.asarray(self._alive[state[0]])


def automaton(
    symbols: str,
    start: S,
    after: Callable[[S, str], S],
    accepts: Callable[[S], bool],
    *,
    name: str,
    summary: str,
) -> Rule:
    """A rule from its states, which may be anything hashable, as long as there are finitely many.

    Args:
        symbols: the symbols that ``after`` tells apart.
        start: the state of the empty word.
        after: the state after a state and a symbol; the symbol is ``""`` for any that is not one of ``symbols``.
        accepts: does a word that ends in a state keep the rule?
        name: of the rule.
        summary: the rule as a sentence.

    >>> rule = automaton("ab", 0, lambda s, x: max(s, "ab".find(x)), lambda s: s == 1, name="has_b", summary="has a b")
    >>> rule.holds(["aab", "aa"]).tolist()
    [True, False]
    """
    number: dict[S, int] = {start: 0}
    rows = []
    for state in (order := [start]):
        found = [after(state, symbol) for symbol in (*symbols, "")]
        for new in found:
            if number.setdefault(new, len(number)) == len(order):
                order.append(new)
        rows.append(tuple(number[new] for new in found))
    return Automaton(tuple(symbols), tuple(rows), tuple(map(accepts, order)), name=name, summary=summary)


def count_mod(symbol: str, modulus: int, remainder: int) -> Rule:
    """The number of a symbol leaves a remainder.

    >>> count_mod("a", 3, 1).holds(["ab", "baaaa", "aa"]).tolist()
    [True, True, False]
    """
    return automaton(
        symbol,
        0,
        lambda count, x: (count + (x == symbol)) % modulus,
        lambda count: count == remainder,
        name=f"{symbol}s_{remainder}_mod_{modulus}",
        summary=f"the number of {symbol} is {remainder} modulo {modulus}",
    )


def length_mod(modulus: int, remainder: int) -> Rule:
    """The number of symbols leaves a remainder.

    >>> length_mod(2, 1).holds(["aba", "ab"]).tolist()
    [True, False]
    """
    return automaton(
        "",
        0,
        lambda count, _: (count + 1) % modulus,
        lambda count: count == remainder,
        name=f"length_{remainder}_mod_{modulus}",
        summary=f"the length is {remainder} modulo {modulus}",
    )


def at_most(symbol: str, n: int) -> Rule:
    """No more than n of a symbol.

    >>> at_most("a", 1).holds(["bab", "aa"]).tolist(), at_most("a", 1).viable(["aa"]).tolist()
    ([True, False], [False])
    """
    return automaton(
        symbol,
        0,
        lambda count, x: min(count + (x == symbol), n + 1),
        lambda count: count <= n,
        name=f"at_most_{n}_{symbol}s",
        summary=f"at most {n} {symbol}",
    )


def at_least(symbol: str, n: int) -> Rule:
    """n or more of a symbol.

    >>> at_least("a", 2).holds(["bab", "aa"]).tolist()
    [False, True]
    """
    return automaton(
        symbol,
        0,
        lambda count, x: min(count + (x == symbol), n),
        lambda count: count == n,
        name=f"at_least_{n}_{symbol}s",
        summary=f"at least {n} {symbol}",
    )


def ends_with(symbol: str) -> Rule:
    """The last symbol is this one.

    >>> ends_with("b").holds(["ab", "ba", ""]).tolist()
    [True, False, False]
    """
    return automaton(
        symbol,
        False,
        lambda _, x: x == symbol,
        lambda last: last,
        name=f"ends_with_{symbol}",
        summary=f"ends with {symbol}",
    )


def no_factor(factor: str) -> Rule:
    """Some symbols never follow each other directly: ``no_factor("aa")`` forbids two neighbouring a.

    >>> no_factor("ab").holds(["bba", "aab"]).tolist(), no_factor("ab").viable(["aab"]).tolist()
    ([True, False], [False])
    """
    return automaton(
        "".join(sorted(set(factor))),
        "",
        lambda seen, x: _suffix_seen(seen, x, factor),
        lambda seen: seen != factor,
        name=f"no_{factor}",
        summary=f"never {factor}",
    )


def has_factor(factor: str) -> Rule:
    """Some symbols follow each other directly somewhere.

    >>> has_factor("ab").holds(["bba", "aab"]).tolist()
    [False, True]
    """
    return automaton(
        "".join(sorted(set(factor))),
        "",
        lambda seen, x: _suffix_seen(seen, x, factor),
        lambda seen: seen == factor,
        name=f"has_{factor}",
        summary=f"{factor} somewhere",
    )


def _suffix_seen(seen: str, symbol: str, factor: str) -> str:
    """The longest beginning of the factor that what was read ends with; the whole factor once it was read."""
    if seen == factor or not symbol:
        return factor if seen == factor else ""
    text = seen + symbol
    return next(text[i:] for i in range(len(text) + 1) if factor.startswith(text[i:]))
