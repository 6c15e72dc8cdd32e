"""Minimal pairs agree with brute force, and have their properties in every language."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from formal.test_brute_force import NAMES, PREDICATES

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import breaks_alone, minimal_pairs
from hf_ruleextrap.languages import get_language, list_languages


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def nearest(name: str, word: str, rule: int) -> set[str]:
    """Return the nearest strings that break one rule, by testing all strings with one-line definitions of the rules."""
    language, predicates = get_language(name), PREDICATES[name]

    def alone(text: str) -> bool:
        return [not holds(text) for holds in predicates] == [i == rule for i in range(len(predicates))]

    same = ["".join(symbols) for symbols in product(language.alphabet, repeat=len(word))]
    good = {text: sum(a != b for a, b in zip(text, word, strict=True)) for text in same if alone(text)}
    if not good:
        shorter = {word[:i] + word[i + 1 :] for i in range(len(word))}
        longer = {word[:i] + symbol + word[i:] for i in range(len(word) + 1) for symbol in language.alphabet}
        # For all words of these tests, one symbol more or less is enough.
        return {text for text in shorter | longer if text and alone(text)}
    return {text for text, distance in good.items() if distance == min(good.values())}


@pytest.mark.parametrize("name", NAMES)
def test_minimal_pairs_contain_exactly_the_nearest_broken_words(name: str) -> None:
    language = get_language(name)
    words = [word for word in language.words(6) if len(word) > 1][: 40 if len(language.alphabet) < 4 else 12]
    for i, of_rule in enumerate(minimal_pairs(language, words, rng=rng())):
        assert of_rule.rule == language.rules[i].name
        expected = {(word, broken) for word in words for broken in nearest(name, word, i)}
        assert {(pair.word, pair.broken) for pair in of_rule.pairs} == expected
        assert len(of_rule.pairs) == len(expected)
        assert bool(of_rule.reason) == (not expected)


@pytest.mark.parametrize("name", list_languages())
def test_every_language_has_valid_pairs_or_a_reason(name: str) -> None:
    language = get_language(name)
    words = list(dict.fromkeys(language.sample(40, max_length=max(12, language.shortest + 4), rng=rng())))[:6]
    for i, of_rule in enumerate(minimal_pairs(language, words, rng=rng(), limit=20)):
        assert len(of_rule.pairs) <= 20
        # If no short string breaks the rule alone, no neighbour of a longer word does.
        if of_rule.reason:
            changed = [
                word[:at] + symbol + word[at + 1 :]
                for word in words
                for at in range(len(word))
                for symbol in language.alphabet
            ]
            assert not breaks_alone(language, changed)[:, i].any()
            continue
        assert language.contains([pair.word for pair in of_rule.pairs]).all()
        rows = breaks_alone(language, [pair.broken for pair in of_rule.pairs])
        assert rows[:, i].all()
        # No word has a second pair before every word with a pair has its first pair.
        order = [pair.word for pair in of_rule.pairs]
        different = list(dict.fromkeys(order))
        assert order[: len(different)] == different


def test_a_rule_that_cannot_be_broken_alone_has_a_reason() -> None:
    first, second, third = minimal_pairs(get_language("dyck"), ["()", "[]()"], rng=rng())
    assert first.pairs == second.pairs == ()
    assert first.reason.endswith("each string that breaks it also breaks properly_nested")
    assert third.pairs
    (ends, _) = minimal_pairs(get_language("tomita1"), ["111"], rng=rng())
    assert (
        ends.reason
        == "no string of up to 16 symbols breaks the rule alone: each string that breaks it also breaks no_0"
    )
    # The rule can be broken alone, but no string near this word does so.
    *_, nested = minimal_pairs(get_language("dyck"), ["()"], rng=rng())
    assert nested.reason == "no string near the 1 word breaks the rule alone"


def test_the_broken_word_may_have_another_length() -> None:
    even, _ = minimal_pairs(get_language("aastar"), ["aaaa"], rng=rng())
    assert {pair.broken for pair in even.pairs} == {"aaa", "aaaaa"}
    assert not any(pair.same_length for pair in even.pairs)


def test_the_random_generator_decides_the_order() -> None:
    anbn = get_language("anbn")
    once, again = (minimal_pairs(anbn, ["aaabbb"], rng=np.random.default_rng(seed)) for seed in (1, 1))
    assert once == again
    assert once != minimal_pairs(anbn, ["aaabbb"], rng=np.random.default_rng(2))


def test_a_string_outside_the_language_and_a_limit_of_0_are_errors() -> None:
    with pytest.raises(RuleExtrapError, match="'aab' is not a word of anbn"):
        minimal_pairs(get_language("anbn"), ["ab", "aab"], rng=rng())
    with pytest.raises(RuleExtrapError, match="limit is 0"):
        minimal_pairs(get_language("anbn"), ["ab"], rng=rng(), limit=0)
