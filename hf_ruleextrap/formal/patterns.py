"""Rules with finitely many states about the order of symbols, brackets up to a depth, and groups."""

from __future__ import annotations

from collections.abc import Mapping

from .automata import finite_automaton
from .rules import Rule, combinator
from .symbol_names import plural


@combinator
def alternating(first: str, second: str) -> Rule:
    """Two symbols take turns, the first one first; others are ignored.

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
    """One run of symbols after the other, any of them empty; what stands in no block is ignored.

    Args:
        blocks: the symbols of each run; two that follow each other share none.

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
    """A symbol occurs once.

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
    """So many brackets at most are open at once; one that closes nothing changes nothing.

    Args:
        limit: how many.
        pairs: each an opening and its closing symbol, whose kinds are not told apart.

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
    """The product of the symbols, read from left to right, is the identity: the word problem of a group.

    Args:
        generators: each symbol's permutation of 0 … n - 1, as the tuple of images; other symbols are the identity.
        name: of the rule.
        summary: the rule as a sentence.

    >>> swap = group_word({"a": (1, 0, 2), "b": (1, 2, 0)}, name="identity", summary="the product is the identity")
    >>> swap.holds(["aa", "bbb", "abab", "ab"]).tolist()
    [True, True, True, False]
    """
    identity = tuple(range(len(next(iter(generators.values())))))

    def step(product: tuple[int, ...], read: str) -> tuple[int, ...]:
        image = generators.get(read, identity)
        return tuple(image[point] for point in product)

    return finite_automaton("".join(generators), identity, step, lambda p: p == identity, name=name, summary=summary)
