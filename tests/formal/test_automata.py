"""Viability of rules with finitely many states. The viability may depend on the alphabet."""

from __future__ import annotations

from itertools import product

import pytest

from hf_ruleextrap.formal import (
    Rule,
    at_least,
    at_most,
    count_mod,
    ends_with,
    finite_automaton,
    has_factor,
    length_mod,
    no_factor,
)

RULES = [
    count_mod("a", 3, 1),
    length_mod(3, 2),
    at_most("a", 2),
    at_least("b", 2),
    ends_with("b"),
    no_factor("aab"),
    has_factor("aba"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_prefix_is_viable_if_some_extension_keeps_the_rule(rule: Rule) -> None:
    words = ["".join(w) for n in range(9) for w in product("ab", repeat=n)]
    kept = {word for word, good in zip(words, rule.holds(words), strict=True) if good}
    heads = {word[:n] for word in kept for n in range(len(word) + 1)}
    prefixes = [word for word in words if len(word) <= 5]
    for part in (rule, rule.of_language(("a", "b"))):
        assert part.viable(prefixes).tolist() == [prefix in heads for prefix in prefixes]


def test_a_prefix_that_only_a_foreign_symbol_could_extend_is_not_viable() -> None:
    # After an a, only a symbol other than a makes the rule hold.
    rule = finite_automaton("a", True, lambda _, x: x != "a", bool, name="not_a_last", summary="a is not last")
    assert rule.of_language(("a", "b")).viable(["a"]).all()
    assert not rule.of_language(("a",)).viable(["a"]).any()
    assert rule.viable(["a"]).all()
