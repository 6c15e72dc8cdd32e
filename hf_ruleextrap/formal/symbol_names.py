"""How the names of rules spell symbols."""

from __future__ import annotations

_NAMES = {
    "(": ("opening_parenthesis", "opening_parentheses"),
    ")": ("closing_parenthesis", "closing_parentheses"),
    "[": ("opening_bracket", "opening_brackets"),
    "]": ("closing_bracket", "closing_brackets"),
    "()": ("parenthesis", "parentheses"),
    "[]": ("bracket", "brackets"),
    "0": ("zero", "zeros"),
    "1": ("one", "ones"),
    "#": ("mark", "marks"),
}


def plural(symbols: str, count: int = 2) -> str:
    """Return the plural (for a count of 1, the singular) of a symbol, as it stands in the name of a rule.

    >>> plural("a"), plural("a", 1), plural("0")
    ('as', 'a', 'zeros')
    """
    one, several = _NAMES.get(symbols, (symbols, f"{symbols}s"))
    return one if count == 1 else several
