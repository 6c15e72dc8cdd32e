"""Rules with finitely many states about the order of symbols, brackets up to a depth, and groups."""

from __future__ import annotations

from collections.abc import Mapping

from .automata import finite_automaton
from .rules import Rule, combinator
from .symbol_names import plural


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
