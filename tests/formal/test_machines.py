"""Automata, graphs of states and look-up tables agree with the rules and with enumerations of all strings."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import log

import numpy as np
import pytest

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import (
    Language,
    Rule,
    WordBatch,
    at_least,
    at_most,
    count_mod,
    ends_with,
    explore,
    finite_automaton,
    has_factor,
    length_mod,
    no_factor,
    score,
    tables,
    words,
)
from hf_ruleextrap.formal.graph import NOWHERE
from hf_ruleextrap.formal.machine import distinct
from hf_ruleextrap.formal.rules import equal_counts, even_count, ordered, starts_with
from hf_ruleextrap.formal.tables import FlatWords, Tables
from hf_ruleextrap.languages import get_language, list_languages

SHORT = {2: 9, 3: 7, 4: 6}


class Regular(Language):
    """A language that states only its rules."""

    name = "only-rules"
    summary = "b w, w with an even number of a after the last b"
    level = "regular"
    alphabet = ("a", "b")
    rules = (even_count("a", since="b"), starts_with("b"))


class TwoCounters(Language):
    """A language that states only its rules, which need two counters."""

    name = "two-counters"
    summary = "as many a as b as c, a first"
    level = "context-sensitive"
    alphabet = ("a", "b", "c")
    rules = (equal_counts("a", "b", "c"), starts_with("a"))


LANGUAGES = {language.name: language for language in [Regular(), TwoCounters(), *map(get_language, list_languages())]}


def strings(alphabet: tuple[str, ...], longest: int) -> list[str]:
    return ["".join(w) for n in range(longest + 1) for w in product(alphabet, repeat=n)]


@pytest.mark.parametrize("name", LANGUAGES)
def test_word_counts_agree_with_enumeration(name: str) -> None:
    language = LANGUAGES[name]
    longest = SHORT.get(len(language.alphabet), 5)
    by_length = Counter(map(len, language.words(longest)))
    counts = language.word_counts(longest)
    assert counts.exact()[1:] == [by_length[n] for n in range(1, longest + 1)]
    assert counts.lengths.tolist() == sorted(by_length)
    assert counts.log(counts.lengths) == pytest.approx([log(by_length[n]) for n in sorted(by_length)], abs=1e-12)


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_graph_agrees_with_its_machine(name: str) -> None:
    language = LANGUAGES[name]
    words = strings(language.alphabet, SHORT.get(len(language.alphabet), 5))
    graph = explore(language, language.alphabet, len(words[-1]))
    state = graph.read(WordBatch.from_strings(words))
    assert (state != NOWHERE).tolist() == language.viable(words).tolist()
    assert np.append(graph.accepting, False)[state][1:].tolist() == language.contains(words)[1:].tolist()
    first = {int(s): len(word) for word, s in reversed(list(zip(words, state, strict=True))) if s != NOWHERE}
    assert graph.depth.tolist() == [first[s] for s in range(len(graph))]
    # The graph of useful states lacks only the states that no word of the language passes through.
    passed = ["", *{word[:n] for word in language.words(len(words[-1])) for n in range(1, len(word) + 1)}]
    useful, on_the_way = graph.useful(), set(graph.read(WordBatch.from_strings(passed)).tolist())
    assert (useful.read(WordBatch.from_strings(passed)) != NOWHERE).all()
    assert len(useful) == len(on_the_way)


@pytest.mark.parametrize("name", ["only-rules", "two-counters"])
def test_rules_alone_give_a_sampler(name: str) -> None:
    language, n, longest = LANGUAGES[name], 40_000, 6
    drawn = language.sample(n, max_length=longest, rng=np.random.default_rng(1))
    every = list(language.words(longest))
    logs = language.log_probability(WordBatch.from_strings(every), longest)
    assert logs is not None
    assert float(np.exp(logs).sum()) == pytest.approx(1, abs=1e-12)
    seen = Counter(drawn)
    assert set(seen) == set(every)
    for word, p in zip(every, np.exp(logs), strict=True):
        assert abs(seen[word] - n * p) < 5 * np.sqrt(n * p * (1 - p)), word
    assert language.shortest == len(every[0])


def test_long_words_are_counted_without_overflow() -> None:
    longest = 2000
    counts = Regular().word_counts(longest)
    exact = counts.exact()
    # Python's logarithm accepts integers of any size.
    expected = [log(exact[n]) for n in counts.lengths.tolist()]
    assert exact[-1] > 2**1100
    assert counts.log(counts.lengths) == pytest.approx(expected, rel=1e-12)
    words = counts.draw(np.array([longest, 1, longest]), np.random.default_rng(0))
    assert words.lengths.tolist() == [longest, 1, longest]
    assert Regular().contains(words).all()


@pytest.mark.parametrize("name", ["only-rules", "two-counters", "csdyck", "anbncn"])
def test_words_of_64_symbols_can_be_drawn(name: str) -> None:
    language = LANGUAGES[name]
    counts = language.word_counts(64)
    words = counts.draw(np.full(50, counts.lengths[-1]), np.random.default_rng(2))
    assert language.contains(words).all()
    assert (words.lengths == counts.lengths[-1]).all()


def test_too_many_states_are_refused_in_one_line() -> None:
    with pytest.raises(RuleExtrapError, match="too many states to follow them exactly") as caught:
        get_language("dyck").word_counts(64)
    assert "\n" not in str(caught.value)
    with pytest.raises(RuleExtrapError, match="too many"):
        explore(TwoCounters(), TwoCounters.alphabet)


class Nothing(Language):
    """A language whose rules exclude each other."""

    name = "nothing"
    summary = "a first, and b first"
    level = "regular"
    alphabet = ("a", "b")
    rules = (starts_with("a"), starts_with("b"))


class LateStart(Language):
    """A language whose rules the empty word keeps, although the empty word does not belong to the language."""

    name = "late"
    summary = "as many a as b, in order"
    level = "context-free"
    alphabet = ("a", "b")
    rules = (equal_counts("a", "b"), ordered("a", "b"))


def test_the_shortest_word_is_not_the_empty_word() -> None:
    assert LateStart().shortest == 2
    with pytest.raises(RuleExtrapError, match="exclude each other"):
        _ = Nothing().shortest


def test_deep_stacks_are_distinguished() -> None:
    # The brackets do not fit into one 64-bit digit of the stack.
    rule = get_language("dyck").rules[2]
    graph = explore(rule, ("(", ")"), 70)
    assert graph.depth.tolist() == list(range(71))


def test_distinct_rows_are_identified_exactly() -> None:
    rng = np.random.default_rng(0)
    registers = (
        rng.integers(0, 2**63, size=500, dtype=np.uint64)[rng.integers(0, 40, size=500)] * np.uint64(2),
        rng.integers(-(2**40), 2**40, size=(30, 3))[rng.integers(0, 30, size=500)],
        rng.integers(0, 2, size=500).astype(bool),
    )
    first, place = distinct(registers)
    rows = [tuple(np.concatenate([np.ravel(r[i]).astype(object) for r in registers])) for i in range(500)]
    assert [rows[i] for i in first] == sorted(set(rows))
    assert [rows[first[p]] for p in place] == rows
    assert [rows.index(rows[i]) for i in first] == first.tolist()


def test_a_graph_continues_from_any_states() -> None:
    rule, prompts = equal_counts("a", "b", "c"), WordBatch.from_strings(["aaaa", "ccbbb", "", "abc"])
    first, place = distinct(rule.read(prompts))
    start = tuple(register[first] for register in rule.read(prompts))
    graph = explore(rule, "abc", 3, start=start)
    suffixes = strings(("a", "b", "c"), 3)
    for row, prompt in enumerate(prompts):
        state = np.full(len(suffixes), place[row])
        for i, suffix in enumerate(suffixes):
            for symbol in suffix:
                state[i] = graph.following[state[i], "abc".index(symbol)]
        expected = rule.read(WordBatch.from_strings([prompt + suffix for suffix in suffixes]))
        for register, values in zip(graph.states, expected, strict=True):
            assert register[state].tolist() == values.tolist()
    # Each state has only one number.
    assert len(set(zip(*(register.tolist() for register in graph.states), strict=True))) == len(graph)


# Automata.


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


# Look-up tables.


FOREIGN = "x"


@pytest.fixture
def tables_for_few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tables read any number of words."""
    monkeypatch.setattr(words, "FEWEST_SYMBOLS", 0)


def random_words(language: Language, n: int, longest: int, rng: np.random.Generator) -> WordBatch:
    """Return words: half are uniform strings, and half are words of the language with one replaced symbol."""
    codes = np.frombuffer("".join(language.alphabet).encode(), np.uint8)
    lengths = rng.integers(0, longest, size=n // 2, endpoint=True)
    uniform = WordBatch.from_codes(rng.choice(codes, size=(n // 2, longest)), lengths)
    near = language.sample(n - n // 2, max_length=longest, rng=rng)
    changed = near.codes.copy()
    changed[np.arange(len(near)), rng.integers(near.lengths)] = rng.choice(codes, size=len(near))
    return words.concatenate([uniform, WordBatch(changed, near.lengths)])


ALL_LANGUAGES = [get_language(name) for name in list_languages()]
AS_IN_THE_PAPER = [type(language)(paper=True) for language in ALL_LANGUAGES if language.paper_rules]


@pytest.mark.parametrize("language", [*ALL_LANGUAGES, *AS_IN_THE_PAPER], ids=repr)
def test_tables_agree_with_the_rules(language: Language) -> None:
    batch = random_words(language, 100_000, 24, np.random.default_rng(1))
    machines = [*language.rules, language, *(rule.for_completion for rule in language.rules)]
    machine_tables = Tables(machines, language.alphabet, 24)
    states, foreign = machine_tables.read(FlatWords.of(batch))
    verdict = machine_tables.verdict(states)
    assert not foreign.any()
    for i, machine in enumerate(machines):
        state = machine.read(batch, to_the_end=True)
        known = ~verdict.unknown[:, i]
        assert known.mean() > 0.8
        assert (verdict.accepts[known, i] == machine.accepts(state)[known]).all()
        assert (verdict.alive[known, i] == machine.alive(state)[known]).all()


@pytest.mark.parametrize("name", ["anbn", "dyck", "bban"])
@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("most_states", [4, 1 << 15])
@pytest.mark.usefixtures("tables_for_few_words")
def test_scores_and_labels_do_not_depend_on_the_tables(
    name: str, paper: bool, most_states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If tables have only four states, most words leave the tables, and the rules read these words."""
    monkeypatch.setattr(tables, "MOST_TABLE_STATES", most_states)
    language, plain = get_language(name, paper=paper), get_language(name, paper=paper)
    rng = np.random.default_rng(2)
    prompts, batch = random_words(language, 600, 8, rng), random_words(language, 600, 20, rng)
    completions = [text.replace(language.alphabet[0], FOREIGN, row % 3 == 0) for row, text in enumerate(batch)]
    by_table = [language.label(prompts), score(language, prompts, completions), score(language, prompts, batch)]
    with monkeypatch.context() as patch:
        patch.setattr(words, "FEWEST_SYMBOLS", 1 << 60)
        by_rule = [plain.label(prompts), score(plain, prompts, completions), score(plain, prompts, batch)]
    for first, second in zip(by_table, by_rule, strict=True):
        for field in ("ood", "open") if hasattr(first, "ood") else ("empty", "parsed", "word", "completion"):
            assert (getattr(first, field) == getattr(second, field)).all(), field


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_a_compiled_loop_reads_indices(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.array([[0, 1, -1, -1], [-1, 1, 0, 1], [1, 1, 1, 0]], dtype)
    expected = list(WordBatch.from_ids(ids, "ab"))
    monkeypatch.setattr(words, "FEWEST_SYMBOLS", 0)
    assert list(WordBatch.from_ids(ids, "ab")) == expected == ["ab", "", "bbba"]
    ids[1, 2] = 2
    with pytest.raises(ValueError, match="row 1 holds the symbol index 2"):
        WordBatch.from_ids(ids, "ab")
