"""Rules with finitely many states: finite automata and the combinators that build them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hf_ruleextrap.errors import RuleExtrapError

from .machine import State
from .rules import Rule, combinator, plural
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
        RuleExtrapError: If the automaton has more than 10,000 states.

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


@combinator
def count_mod(symbol: str, modulus: int, remainder: int) -> Rule:
    """Return the rule that the count of a symbol has a given remainder modulo a number.

    >>> count_mod("a", 3, 1).holds(["ab", "baaaa", "aa"]).tolist()
    [True, True, False]
    """
    return finite_automaton(
        symbol,
        0,
        lambda count, x: (count + (x == symbol)) % modulus,
        lambda count: count == remainder,
        name=f"{symbol}s_{remainder}_mod_{modulus}",
        summary=f"the number of {symbol} is {remainder} modulo {modulus}",
    )


@combinator
def length_mod(modulus: int, remainder: int) -> Rule:
    """Return the rule that the length of the word has a given remainder modulo a number.

    >>> length_mod(2, 1).holds(["aba", "ab"]).tolist()
    [True, False]
    """
    return finite_automaton(
        "",
        0,
        lambda count, _: (count + 1) % modulus,
        lambda count: count == remainder,
        name=f"length_{remainder}_mod_{modulus}",
        summary=f"the length is {remainder} modulo {modulus}",
    )


@combinator
def at_most(symbol: str, n: int) -> Rule:
    """Return the rule that a symbol occurs at most n times.

    >>> at_most("a", 1).holds(["bab", "aa"]).tolist(), at_most("a", 1).viable(["aa"]).tolist()
    ([True, False], [False])
    """
    return finite_automaton(
        symbol,
        0,
        lambda count, x: count + (x == symbol) if count + (x == symbol) <= n else None,
        name=f"at_most_{n}_{symbol}s",
        summary=f"at most {n} {symbol}",
    )


@combinator
def at_least(symbol: str, n: int) -> Rule:
    """Return the rule that a symbol occurs at least n times.

    >>> at_least("a", 2).holds(["bab", "aa"]).tolist()
    [False, True]
    """
    return finite_automaton(
        symbol,
        0,
        lambda count, x: min(count + (x == symbol), n),
        lambda count: count == n,
        name=f"at_least_{n}_{symbol}s",
        summary=f"at least {n} {symbol}",
    )


@combinator
def no_factor(factor: str) -> Rule:
    """Return the rule that a string does not occur in the word: ``no_factor("aa")`` forbids two neighbouring a.

    >>> no_factor("ab").holds(["bba", "aab"]).tolist(), no_factor("ab").viable(["aab"]).tolist()
    ([True, False], [False])
    """
    return finite_automaton(
        "".join(sorted(set(factor))),
        "",
        lambda seen, x: None if (after := _suffix_seen(seen, x, factor)) == factor else after,
        name=f"no_{factor}",
        summary=f"never {factor}",
    )


@combinator
def has_factor(factor: str) -> Rule:
    """Return the rule that a string occurs in the word.

    >>> has_factor("ab").holds(["bba", "aab"]).tolist()
    [False, True]
    """
    return finite_automaton(
        "".join(sorted(set(factor))),
        "",
        lambda seen, x: _suffix_seen(seen, x, factor),
        lambda seen: seen == factor,
        name=f"has_{factor}",
        summary=f"{factor} somewhere",
    )


def _suffix_seen(seen: str, symbol: str, factor: str) -> str:
    """Return the longest prefix of the factor that is a suffix of the symbols read, or the factor once it occurred."""
    if seen == factor or not symbol:
        return factor if seen == factor else ""
    text = seen + symbol
    return next(text[i:] for i in range(len(text) + 1) if factor.startswith(text[i:]))


@combinator
def alternating(first: str, second: str) -> Rule:
    """Return the rule that two symbols alternate, beginning with ``first``; other symbols are ignored.

    >>> alternating("a", "b").holds(["aba", "ba", "aab"]).tolist()
    [True, False, False]
    """
    pair = (first, second)

    def step(turn: int, read: str) -> int | None:
        return turn if read not in pair else 1 - turn if read == pair[turn] else None

    name = f"{plural(first)}_and_{plural(second)}_alternate"
    return finite_automaton(
        first + second, 0, step, name=name, summary=f"{first} and {second} alternate, {first} first"
    )


@combinator
def in_blocks(*blocks: str) -> Rule:
    """Return the rule that the word is a sequence of blocks, each over given symbols and possibly empty.

    A symbol that belongs to no block is ignored.

    Args:
        blocks: The symbols of each block; two neighbouring blocks share no symbol.

    >>> in_blocks("a", "b", "a").holds(["aba", "baa", "abab"]).tolist()
    [True, True, False]
    >>> in_blocks("()", "[]").holds([")([", "[("]).tolist()
    [True, False]
    """

    def step(here: int, read: str) -> int | None:
        if not any(read and read in block for block in blocks):
            return here
        return next((i for i in range(here, len(blocks)) if read in blocks[i]), None)

    symbols = "".join(dict.fromkeys("".join(blocks)))
    shown = [" ".join(block) for block in blocks]
    name = "_then_".join(plural("".join(block)) for block in blocks)
    return finite_automaton(symbols, 0, step, name=name, summary=f"only {', then '.join(shown)}")


@combinator
def exactly_one(symbol: str) -> Rule:
    """Return the rule that a symbol occurs exactly once.

    >>> exactly_one("#").holds(["a#", "a", "##"]).tolist(), exactly_one("#").viable(["a", "##"]).tolist()
    ([True, False, False], [True, False])
    """

    def step(count: int, read: str) -> int | None:
        count += read == symbol
        return count if count < 2 else None

    name = f"one_{plural(symbol, 1)}"
    return finite_automaton(symbol, 0, step, lambda count: count == 1, name=name, summary=f"exactly one {symbol}")


@combinator
def most_open(limit: int, *pairs: str) -> Rule:
    """Return the rule that at most ``limit`` brackets are open at once; unmatched closing brackets are ignored.

    Args:
        limit: The largest number of open brackets.
        pairs: For each kind, the opening and the closing symbol. All kinds count alike.

    >>> most_open(2, "()").holds(["(())", "((("]).tolist(), most_open(2, "()").viable([")(((", "))(("]).tolist()
    ([True, False], [False, True])
    """
    opening, closing = ("".join(pair[i] for pair in pairs) for i in (0, 1))

    def step(depth: int, read: str) -> int | None:
        if read and read in opening:
            return depth + 1 if depth < limit else None
        return max(0, depth - 1) if read and read in closing else depth

    summary = f"never more than {limit} {' or '.join(opening)} open at once"
    return finite_automaton(opening + closing, 0, step, name=f"at_most_{limit}_open", summary=summary)


@combinator
def group_word(generators: Mapping[str, tuple[int, ...]], *, name: str, summary: str) -> Rule:
    """Return the rule that the product of the symbols is the identity: the word problem of a group.

    The product is taken from left to right.

    Args:
        generators: For each symbol, a permutation of 0 … n - 1 as the tuple of images. Any other symbol stands for the
            identity.
        name: The name of the rule.
        summary: The rule as a sentence.

    >>> swap = group_word({"a": (1, 0, 2), "b": (1, 2, 0)}, name="identity", summary="the product is the identity")
    >>> swap.holds(["aa", "bbb", "abab", "ab"]).tolist()
    [True, True, True, False]
    """
    identity = tuple(range(len(next(iter(generators.values())))))

    def step(product: tuple[int, ...], read: str) -> tuple[int, ...]:
        image = generators.get(read, identity)
        return tuple(image[point] for point in product)

    return finite_automaton("".join(generators), identity, step, lambda p: p == identity, name=name, summary=summary)
