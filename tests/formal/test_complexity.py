"""The measures of complexity agree with enumerations of words and with known minimal automata."""

from __future__ import annotations

from itertools import product
from math import log

import numpy as np
import pytest

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import (
    Language,
    Rule,
    WordBatch,
    at_most,
    balanced,
    complexity,
    count_mod,
    equal_counts,
    even_count,
    finite_automaton,
    length_mod,
    nested,
    ordered,
    starts_with,
)
from hf_ruleextrap.formal.automata import FiniteAutomaton, group_word
from hf_ruleextrap.formal.measures import (
    automaton_states,
    counter_depth,
    description_length,
    entropy_rate,
    nerode_classes,
)
from hf_ruleextrap.formal.rules import EqualCounts
from hf_ruleextrap.formal.viability import Finite
from hf_ruleextrap.languages import built_in_languages, get_language, list_languages


def language_of(alphabet: str, *rules: Rule) -> Language:
    body = {"name": "test", "summary": "a test", "level": "regular", "alphabet": tuple(alphabet), "rules": rules}
    return type("TestLanguage", (Language,), body)()


def classes_by_strings(language: Language, n: int) -> int:
    """Count the classes by the definition of Myhill and Nerode, for all strings of at most n symbols."""
    strings = ["".join(w) for length in range(n + 1) for w in product(language.alphabet, repeat=length)]
    rows = {tuple(language.contains([prefix + suffix for suffix in strings])) for prefix in strings}
    return len(rows)


@pytest.mark.parametrize("name", [*list_languages(), "random-regular-2", "random-context-free-2"])
def test_nerode_classes_agree_with_their_definition(name: str) -> None:
    language = get_language(name)
    n = {2: 5, 3: 3, 4: 2}.get(len(language.alphabet), 2)
    assert nerode_classes(language, n) == classes_by_strings(language, n)


@pytest.mark.parametrize(
    ("language", "states"),
    [
        # The pairs of residues, and a start state, because the empty word is in no language.
        (language_of("ab", count_mod("a", 3, 0), count_mod("b", 2, 0)), 7),
        # The rules exclude the empty word, so there is no further start state.
        (language_of("ab", count_mod("a", 3, 1), count_mod("b", 2, 1)), 6),
        # a* b*: a state for each block, the sink, and the start state.
        (language_of("ab", ordered("a", "b"), length_mod(1, 0)), 4),
        # The rules have 12 and 4 states, but the residue modulo 12 decides.
        (language_of("ab", length_mod(12, 0), length_mod(4, 0)), 13),
        (language_of("ab", starts_with("a"), even_count("a")), 4),
    ],
)
def test_minimal_automata_have_the_known_numbers_of_states(language: Language, states: int) -> None:
    assert nerode_classes(language, 14) == states


@pytest.mark.parametrize(
    ("name", "rule", "states"),
    [
        # Each residue, and each element of a group, is one state.
        ("parity", 0, 2),
        ("mod3", 0, 3),
        ("aastar", 0, 2),
        ("z5", 0, 5),
        ("s3", 0, 6),
        ("a5", 0, 60),
        # Tomita's automata, without the sink.
        ("tomita1", 1, 1),
        ("tomita2", 1, 2),
        ("tomita3", 1, 4),
        ("tomita4", 1, 3),
        ("tomita5", 0, 4),
        ("tomita6", 0, 3),
        ("tomita7", 1, 4),
        # One state for each stack of at most three open brackets. Two kinds of brackets have 1 + 2 + 4 + 8 stacks.
        ("dyck1d3", 1, 4),
        ("anbn", 0, None),
    ],
)
def test_minimal_automata_of_rules_have_the_known_numbers_of_states_without_the_sink(
    name: str, rule: int, states: int | None
) -> None:
    language = get_language(name)
    assert automaton_states(language.rules[rule], language.alphabet) == states


@pytest.mark.parametrize(
    ("name", "states"),
    [("dyck2d3", 15), ("aastar", 2), ("ban", 3), ("bban", 4), ("z5", 6), ("a5", 61), ("anbn", None), ("dyck", None)],
)
def test_minimal_automata_of_languages_have_the_known_numbers_of_states(name: str, states: int | None) -> None:
    assert complexity(get_language(name), max_length=16, horizon=4).automaton_states == states


@pytest.mark.parametrize("name", ["ban", "bban", "parity", "mod3", "abn", "anbm", "tomita3", "random-regular-2"])
def test_automaton_states_are_the_classes_of_viable_prefixes(name: str) -> None:
    language = get_language(name)
    strings = ["".join(word) for length in range(6) for word in product(language.alphabet, repeat=length)]

    def row(prefix: str) -> tuple[bool, ...]:
        words = WordBatch.from_strings([prefix + suffix for suffix in strings])
        return tuple(language.accepts(language.read(words, to_the_end=True)).tolist())

    rows = {row(prefix) for prefix in strings}
    assert automaton_states(language, language.alphabet) == len({row for row in rows if any(row)})


def test_equivalent_states_are_one_class() -> None:
    doubled = finite_automaton(
        "a", (0, 0), lambda s, x: ((s[0] + (x == "a")) % 2, (s[1] + 1) % 3), lambda s: s[0] == 1, name="o", summary="o"
    )
    assert nerode_classes(language_of("ab", doubled, length_mod(1, 0)), 8) == 2


def test_all_prefixes_without_a_suffix_to_a_word_are_one_class() -> None:
    # After b, each rule is viable, but both together are not. The viability of the language does not show this; its
    # classes do.
    rules = (even_count("b"), at_most("b", 1))
    plain = language_of("ab", *rules)
    assert plain.viable(["b"]).all()
    assert not Finite(plain, "ab").alive(plain.read(plain.label(["b"]).words)).any()
    assert nerode_classes(plain, 6) == 3


@pytest.mark.parametrize(
    ("language", "n", "depth"),
    [
        (language_of("ab", equal_counts("a", "b"), ordered("a", "b")), 9, 4),
        (language_of("abc", equal_counts("a", "b", "c"), ordered("a", "b", "c")), 9, 3),
        (language_of("()", balanced("(", ")"), length_mod(1, 0)), 10, 5),
        (language_of("()[]", nested("()", "[]"), length_mod(1, 0)), 6, 3),
        (language_of("ab", even_count("a"), starts_with("b")), 10, 0),
        # At most two a allow a difference of at most 2.
        (language_of("ab", equal_counts("a", "b"), at_most("a", 2)), 12, 2),
    ],
)
def test_the_counter_depth_is_the_largest_depth_within_words(language: Language, n: int, depth: int) -> None:
    assert counter_depth(language, n) == depth
    counted = 0
    for word in language.words(n):
        for end in range(len(word) + 1):
            for rule in language.rules:
                held = rule.depth(rule.read(language.label([word[:end]]).words))
                assert held is not None
                counted = max(counted, int(held[0]))
    assert counted == depth


def test_the_counter_depth_of_a_copy_is_the_length_of_the_copied_word() -> None:
    assert counter_depth(get_language("markedcopy"), 7) == 3
    assert counter_depth(get_language("markedreversal"), 6) == 2


def test_the_entropy_of_the_default_sampler_is_exact() -> None:
    language = get_language("random-context-free-2")
    words = list(language.words(7))
    lengths = sorted({len(word) for word in words})
    probability = {word: 1 / len(lengths) / sum(len(other) == len(word) for other in words) for word in words}
    entropy = -sum(p * log(p) for p in probability.values())
    mean = sum(p * len(word) for word, p in probability.items())
    rate, low, high = entropy_rate(language, 7)
    assert rate == low == high == pytest.approx(entropy / mean, rel=1e-12)


@pytest.mark.parametrize("name", ["ban", "bban", "anbncn", "dyck", "csdyck", "shuffle3", "markedcopy"])
@pytest.mark.parametrize("paper", [False, True])
def test_the_entropy_of_a_custom_sampler_is_exact(name: str, paper: bool) -> None:
    language = get_language(name, paper=paper)
    max_length = 6 if name == "shuffle3" else 8
    words = WordBatch.from_strings(list(language.words(max_length)))
    logs = language.log_probability(words, max_length)
    assert logs is not None
    probability = np.exp(logs)
    if (name, paper) == ("dyck", True):
        # The sampler never continues a prime word and cannot draw all words, so the entropy has an interval.
        rate, low, high = entropy_rate(language, max_length)
        assert rate is not None
        assert low is not None
        assert high is not None
        assert low < rate < high < 1.1 * rate
        return
    assert probability.sum() == pytest.approx(1)
    entropy = language.entropy(max_length)
    assert entropy is not None
    assert entropy.exact
    assert entropy.nats == pytest.approx(-float(probability @ logs))
    assert entropy.mean_length == pytest.approx(float(probability @ words.lengths))
    rate, low, high = entropy_rate(language, max_length)
    assert rate == low == high == pytest.approx(entropy.nats / entropy.mean_length)


def test_a_description_counts_its_tokens() -> None:
    # The tokens: equal_counts a b, and, ordered a b.
    assert description_length(get_language("anbn")) == 3 + 1 + 3
    assert description_length(language_of("ab", count_mod("a", 3, 1), starts_with("b"))) == 4 + 1 + 2
    assert description_length(language_of("ab", at_most("a", 12), ordered("a", "b", leading=True))) == 3 + 1 + 4
    table = finite_automaton("a", 0, lambda s, x: 1 - s if x else s, lambda s: s == 0, name="e", summary="e")
    # The tokens: automaton, its symbol, two rows of two states, one accepting state; and; starts_with b.
    assert description_length(language_of("ab", table, starts_with("b"))) == 1 + 1 + 4 + 1 + 1 + 2


@pytest.mark.parametrize(("name", "length"), [("a5", 16), ("s3", 12), ("z5", 16)])
def test_the_name_of_a_rule_is_not_part_of_its_description(name: str, length: int) -> None:
    # The tokens: group_word, two symbols with the images of all points; and; starts_with a.
    assert description_length(get_language(name)) == length
    swap, sentence = {"a": (1, 0)}, "a sentence of any length"
    rules = [group_word(swap, name=name, summary=summary) for name, summary in (("p", "q"), ("long_name", sentence))]
    assert len({rule.expression for rule in rules}) == 1


def test_default_arguments_are_no_part_of_a_description() -> None:
    assert ordered("a", "b", leading=False).expression == ordered("a", "b").expression
    assert even_count("a", since=None).expression == even_count(symbol="a").expression


def test_a_rule_that_no_combinator_builds_has_no_description_length() -> None:
    assert complexity(get_language("anbnan"), horizon=4).description_length is None
    # The same class, built without the combinator, has no known description.
    by_class = EqualCounts(("a", "b"), name="counts", summary="as many a as b")
    assert description_length(language_of("ab", by_class, starts_with("b"))) is None
    table = finite_automaton("a", 0, lambda s, x: 1 - s if x else s, name="e", summary="e")
    derived = type("Derived", (FiniteAutomaton,), {})(("a",), ((0, 0),), (0,), name="d", summary="d")
    assert description_length(language_of("ab", table, starts_with("b"))) is not None
    assert description_length(language_of("ab", derived, starts_with("b"))) is None


def test_every_language_but_one_is_written_in_combinators_and_tables() -> None:
    lengths = {name: description_length(get_language(name)) for name in built_in_languages()}
    assert [name for name, length in lengths.items() if length is None] == ["anbnan"]


def test_equal_calls_of_a_combinator_give_equal_rules() -> None:
    assert even_count("a") == even_count("a")
    assert even_count("a").expression == ("even_count", "a")
    assert even_count("a").of_language(("a", "b")).expression == ("even_count", "a")


@pytest.mark.parametrize("name", list_languages())
def test_every_language_has_its_measures(name: str) -> None:
    measures = complexity(get_language(name), max_length=32, horizon=4)
    assert measures.entropy_rate is not None
    assert measures.entropy_low is not None
    assert measures.entropy_high is not None
    assert 0 <= measures.entropy_low <= measures.entropy_rate <= measures.entropy_high
    assert measures.nerode_classes is not None
    assert measures.nerode_classes >= 2
    assert measures.description_length is None or measures.description_length >= 4
    assert set(measures.to_dict()) >= {"entropy_rate", "nerode_classes", "counter_depth", "description_length"}
    # The prefix code spends one bit on whether there is a rule, and four bits on each token.
    tokens = measures.description_length
    assert measures.description_bits == (None if tokens is None else 1 + 4 * tokens)


@pytest.mark.parametrize("name", list_languages())
def test_the_counter_depth_grows_exactly_for_languages_that_are_not_regular(name: str) -> None:
    language = get_language(name)
    shallow, deep = (counter_depth(language, n) for n in (8, 12))
    assert shallow is not None
    assert deep is not None
    assert (deep > shallow) == (language.level != "regular")


def test_a_measure_with_too_many_states_is_none() -> None:
    measures = complexity(get_language("dyck"), horizon=32)
    assert measures.nerode_classes is None
    assert measures.counter_depth is None
    assert measures.entropy_rate is not None
    with pytest.raises(RuleExtrapError, match="horizon is 0: give 1 or more"):
        complexity(get_language("dyck"), horizon=0)
    with pytest.raises(RuleExtrapError, match="max_length 1 is too small"):
        complexity(get_language("dyck"), max_length=1)
