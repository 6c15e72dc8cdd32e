"""The rules that a rational learner considers, and the lengths of their descriptions.

A hypothesis is a conjunction of rules. Its description is a text in the combinators of this package. Each combinator is
one token, as is each symbol or number among its arguments, and each "and" between two rules
(`measures.description_bits`). The prefix code spends 1 bit on whether there is a rule, and 4 bits on each token:

    bits(H) = 1 + 4 tokens(H),    so the conjunction of no rules takes 1 bit, and "as many a as b" takes 1 + 4 * 3 = 13.

A prefix code with these lengths exists if Kraft's sum, the sum of 2^(-bits) over all hypotheses, is at most 1. A test
computes the sum for alphabets of up to six symbols, and the sum is at most 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations, product

from .automata import (
    alternating,
    at_least,
    at_most,
    count_mod,
    ends_with,
    exactly_one,
    has_factor,
    length_mod,
    no_factor,
)
from .brackets import balanced, closes_open
from .language import Language
from .rules import Rule, equal_counts, equal_sums, even_count, more, ordered, starts_with

_MOST_SYMBOLS = 3
"""The largest number of symbols of a combinator that takes any number of symbols."""


def candidate_rules(language: Language, most_tokens: float) -> list[Rule]:
    """Return the rules of which hypotheses consist: the language's own rules, then all short rules over its alphabet.

    The short rules are all combinators with finitely many arguments: counts (`equal_counts` and `ordered` of two or
    three symbols, `equal_sums` of one symbol and two, `more`, `even_count`, `count_mod`, `length_mod`, `at_most`,
    `at_least`, `exactly_one`), places (`starts_with`, `ends_with`, `alternating`), factors of one or two symbols, and
    brackets (`balanced`, `closes_open`). Moduli are 2 and 3, bounds 1 and 2. The other rules (`nested`, `copied`,
    `in_blocks`, `most_open`, `group_word`, tables) are candidates only where the language itself has them.

    Args:
        language: The language whose words are learned.
        most_tokens: The largest number of tokens of a description. The language's own rules may be longer.

    Returns:
        Rules over the alphabet, each expression once. The first R rules are the R rules of the language.

    >>> from hf_ruleextrap.languages import get_language
    >>> rules = candidate_rules(get_language("anbn"), 3)
    >>> len(rules), [rule.name for rule in rules[:4]]
    (46, ['as_equal_bs', 'as_before_bs', 'starts_with_a', 'ends_with_a'])
    """
    rules = list(language.rules)
    known = {rule.expression for rule in rules}
    for rule in _enumerated(language.alphabet):
        if rule.expression not in known and len(rule.expression) <= most_tokens:
            known.add(rule.expression)
            rules.append(rule.of_language(language.alphabet))
    return rules


def _enumerated(alphabet: tuple[str, ...]) -> Iterator[Rule]:
    """Yield each combinator with each choice of its arguments."""
    for symbol in alphabet:
        yield from (starts_with(symbol), ends_with(symbol), even_count(symbol), exactly_one(symbol))
        yield count_mod(symbol, 2, 1)
        yield from (count_mod(symbol, 3, remainder) for remainder in range(3))
        yield from (bounded(symbol, n) for bounded in (at_most, at_least) for n in (1, 2))
    yield from (length_mod(modulus, remainder) for modulus in (2, 3) for remainder in range(modulus))
    for length in (1, 2):
        for factor in map("".join, product(alphabet, repeat=length)):
            yield from (no_factor(factor), has_factor(factor))
    for first, second in permutations(alphabet, 2):
        yield from (more(first, second), balanced(first, second), closes_open(first, second))
        yield from (alternating(first, second), even_count(first, since=second))
    for count in range(2, min(_MOST_SYMBOLS, len(alphabet)) + 1):
        yield from (equal_counts(*symbols) for symbols in combinations(alphabet, count))
        for symbols in permutations(alphabet, count):
            yield from (ordered(*symbols), ordered(*symbols, leading=True))
    for symbol in alphabet:
        others = [other for other in alphabet if other != symbol]
        yield from (equal_sums(symbol, "".join(pair)) for pair in combinations(others, 2))
