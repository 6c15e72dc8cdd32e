"""Rules with finitely many states: counts modulo a number, bounds on counts, and factors."""

from __future__ import annotations

from .automata import finite_automaton
from .rules import Rule, combinator


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
