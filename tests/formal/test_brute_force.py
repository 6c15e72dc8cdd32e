"""Rules, the languages of the paper, prompts, scores and chance agree with definitions of one line on short words.

The tests of all languages are in `tests/languages/test_contract.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_ruleextrap import formal
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Language, Rule
from hf_ruleextrap.languages import get_language, list_languages

NAMES = list_languages(tag="paper")


def closes(word: str, kinds: str) -> bool:
    """Return whether the brackets of these kinds are balanced: delete pairs until no pair is left."""
    rest = "".join(symbol for symbol in word if symbol in kinds)
    while (shorter := rest.replace("()", "").replace("[]", "")) != rest:
        rest = shorter
    return not rest


PREDICATES: dict[str, list[Callable[[str], bool]]] = {
    "ban": [lambda w: w.count("a") % 2 == 0, lambda w: w[:1] == "b"],
    "bban": [lambda w: len(w.rpartition("b")[2]) % 2 == 0, lambda w: bool(re.fullmatch("b+a*", w))],
    "anbn": [lambda w: w.count("a") == w.count("b"), lambda w: bool(re.fullmatch("a*b*", w))],
    "anbncn": [lambda w: w.count("a") == w.count("b") == w.count("c"), lambda w: bool(re.fullmatch("a*b*c*", w))],
    "dyck": [lambda w: closes(w, "[]"), lambda w: closes(w, "()"), lambda w: closes(w, "()[]")],
    "csdyck": [lambda w: closes(w, "[]"), lambda w: closes(w, "()")],
}


def strings(language: Language, longest: int) -> list[str]:
    return ["".join(w) for n in range(longest + 1) for w in product(language.alphabet, repeat=n)]


def short(language: Language) -> int:
    return {2: 10, 3: 7, 4: 6}[len(language.alphabet)]


@pytest.fixture(params=NAMES)
def language(request: pytest.FixtureRequest) -> Language:
    return get_language(request.param)


def test_rules_and_membership_agree_with_their_definitions(language: Language) -> None:
    rng = np.random.default_rng(0)
    longer = ["".join(rng.choice(language.alphabet, size=n)) for n in rng.integers(11, 40, size=2000)]
    words = strings(language, short(language)) + longer
    words += [*language.sample(200, max_length=40, rng=rng)]
    expected = np.array([[holds(word) for holds in PREDICATES[language.name]] for word in words])
    for rule, column in zip(language.rules, expected.T, strict=True):
        assert rule.holds(words).tolist() == column.tolist(), rule.name
    nonempty = np.array([len(word) > 0 for word in words])
    assert language.contains(words).tolist() == (expected.all(axis=1) & nonempty).tolist()


LENGTHS = {
    "ban": dict.fromkeys(range(1, 13), 1 / 12),
    "bban": dict.fromkeys(range(1, 13), 1 / 12),
    "anbn": {2 * n: 1 / 6 for n in range(1, 7)},
    "anbncn": {3 * n: 1 / 4 for n in range(1, 5)},
    "dyck": {2 * n: 1 / 6 for n in range(1, 7)},
    "csdyck": {2 * n: 1 / 6 for n in range(1, 7)},
}


def test_the_lengths_of_samples_are_uniform(language: Language) -> None:
    n = 20_000
    lengths, counts = np.unique(
        language.sample(n, max_length=12, rng=np.random.default_rng(5)).lengths, return_counts=True
    )
    assert set(lengths.tolist()) == set(LENGTHS[language.name])
    for length, count in zip(lengths.tolist(), counts, strict=True):
        p = LENGTHS[language.name][length]
        assert abs(count - n * p) < 4.5 * np.sqrt(n * p * (1 - p))


def test_the_paper_s_dyck_words_are_prime() -> None:
    words = get_language("dyck", paper=True).sample(3000, max_length=64, rng=np.random.default_rng(0))
    assert all(not closes(word[:n], "()[]") for word in words for n in range(1, len(word)))
    # About a third of the words have two symbols.
    assert abs(float((words.lengths == 2).mean()) - 1 / 3) < 0.05
    default = get_language("dyck").sample(3000, max_length=64, rng=np.random.default_rng(0))
    assert any(closes(word[:n], "()[]") for word in default for n in range(1, len(word)))


COUNTS = {
    ("anbn", False): (5, 251),
    ("anbncn", False): (4, 239),
    ("ban", False): (128, 128),
    ("bban", False): (7, 6),
    ("bban", True): (128, 128),
    ("dyck", False): (40, 40),
    ("dyck", True): (32, 32),
    ("csdyck", False): (70, 70),
    ("csdyck", True): (32, 32),
}


@pytest.mark.parametrize(("name", "paper"), COUNTS)
def test_prompt_sets_have_the_known_sizes_and_forms(name: str, paper: bool) -> None:
    language = get_language(name, paper=paper)
    prompts = language.prompts()
    inside, outside = prompts.of_kind("id"), prompts.of_kind("ood")
    assert (len(inside), len(outside)) == COUNTS[name, paper]
    if not paper:
        assert len(set(prompts.texts)) == len(prompts)
    if "dyck" in name:
        assert [text[2:] for text in inside.texts] == [text[2:] for text in outside.texts]
        assert {text[:2] for text in inside.texts} == {"(["}
        assert {text[:2] for text in outside.texts} == {")["}
    if name not in ("anbn", "anbncn"):
        for prompt in outside:
            assert language.rules[1].name in prompt.broken
            assert language.rules[0].name in prompt.open


def test_a_long_prompt_is_labelled_to_its_end() -> None:
    anbn = get_language("anbn")
    # The first b a breaks the order, and no later symbol repairs it. The count stays viable.
    assert anbn.label(["ba" * 20])[0].open == ("as_equal_bs",)
    dyck = get_language("dyck")
    assert dyck.label([")[" + "[" * 10 + "]" * 20])[0].open == ()
    assert dyck.label([")[" + "[" * 10 + "]" * 5])[0].open == ("balanced_brackets",)


def test_a_limit_chooses_a_repeatable_subset(language: Language) -> None:
    subsets = [language.prompts("ood", limit=3, rng=np.random.default_rng(seed)).texts for seed in (1, 1)]
    assert subsets[0] == subsets[1]
    assert len(subsets[0]) == 3
    assert set(subsets[0]) <= set(language.prompts("ood").texts)


def test_indices_are_read_like_strings(language: Language) -> None:
    words = strings(language, 4)
    rows = [[language.alphabet.index(symbol) for symbol in word] for word in words]
    padded = np.array([row + [-1] * (4 - len(row)) for row in rows])
    expected = language.contains(words).tolist()
    assert language.contains(padded).tolist() == language.contains(rows).tolist() == expected
    assert language.rules[0].holds(padded).tolist() == language.rules[0].holds(words).tolist()


ORDER, BLOCKS = re.compile("a*b*c*"), re.compile("a*[bc]*a*")


def most_open(word: str) -> int:
    depth = deepest = 0
    for symbol in word:
        depth = max(0, depth + (symbol in "([") - (symbol in ")]"))
        deepest = max(deepest, depth)
    return deepest


COMBINATORS: dict[str, tuple[Rule, Callable[[str], bool]]] = {
    "equal_counts": (formal.equal_counts("a", "b"), lambda w: w.count("a") == w.count("b")),
    "three counts": (formal.equal_counts("a", "b", "c"), lambda w: w.count("a") == w.count("b") == w.count("c")),
    "ordered": (formal.ordered("a", "b", "c"), lambda w: bool(ORDER.fullmatch(re.sub("[^abc]", "", w)))),
    "leading": (formal.ordered("a", "b", leading=True), lambda w: bool(re.fullmatch("a+b*", re.sub("[^ab]", "", w)))),
    "even_count": (formal.even_count("a"), lambda w: w.count("a") % 2 == 0),
    "even since": (formal.even_count("a", since="b"), lambda w: w.rpartition("b")[2].count("a") % 2 == 0),
    "starts_with": (formal.starts_with("b"), lambda w: w.startswith("b")),
    "balanced": (formal.balanced("(", ")"), lambda w: closes(w, "()")),
    "nested": (formal.nested("()", "[]"), lambda w: closes(w, "()[]")),
    "equal_sums": (formal.equal_sums("c", "ab"), lambda w: w.count("c") == w.count("a") + w.count("b")),
    "more": (formal.more("a", "b"), lambda w: w.count("a") > w.count("b")),
    "closes_open": (
        formal.closes_open("(", ")"),
        lambda w: all(w[:n].count("(") >= w[:n].count(")") for n in range(len(w) + 1)),
    ),
    "alternating": (formal.alternating("a", "b"), lambda w: bool(re.fullmatch("(ab)*a?", re.sub("[^ab]", "", w)))),
    "in_blocks": (formal.in_blocks("a", "bc", "a"), lambda w: bool(BLOCKS.fullmatch(re.sub("[^abc]", "", w)))),
    "exactly_one": (formal.exactly_one("a"), lambda w: w.count("a") == 1),
    "most_open": (formal.most_open(2, "()", "[]"), lambda w: most_open(w) <= 2),
    "group_word": (
        formal.group_word({"a": (1, 0), "b": (1, 0)}, name="even", summary="an even number of a and b"),
        lambda w: (w.count("a") + w.count("b")) % 2 == 0,
    ),
    "copied": (formal.copied("d"), lambda w: "d" in w and w.split("d")[0] == w.split("d")[-1]),
    "reversed": (formal.copied("d", reverse=True), lambda w: "d" in w and w.split("d")[0] == w.split("d")[-1][::-1]),
    "count_mod": (formal.count_mod("a", 3, 1), lambda w: w.count("a") % 3 == 1),
    "length_mod": (formal.length_mod(3, 2), lambda w: len(w) % 3 == 2),
    "at_most": (formal.at_most("a", 2), lambda w: w.count("a") <= 2),
    "at_least": (formal.at_least("a", 2), lambda w: w.count("a") >= 2),
    "ends_with": (formal.ends_with("b"), lambda w: w.endswith("b")),
    "no_factor": (formal.no_factor("aab"), lambda w: "aab" not in w),
    "no two": (formal.no_factor("aa"), lambda w: "aa" not in w),
    "has_factor": (formal.has_factor("aba"), lambda w: "aba" in w),
}
TEXT = st.text(alphabet="abcd()[]", max_size=40)


@pytest.mark.parametrize("name", COMBINATORS)
# Examples have no deadline, because a machine may be busy.
@settings(deadline=None)
@given(words=st.lists(TEXT, min_size=1, max_size=8))
def test_a_combinator_agrees_with_its_definition(name: str, words: list[str]) -> None:
    rule, predicate = COMBINATORS[name]
    holds = rule.holds(words)
    # The padding of a batch changes no row.
    assert holds.tolist() == [bool(rule.holds([word])[0]) for word in words] == [predicate(word) for word in words]
    viable = rule.viable(words)
    assert (viable | ~holds).all()
    for word, alive in zip(words, viable, strict=True):
        # Every prefix of a viable prefix is viable.
        assert not alive or rule.viable([word[:n] for n in range(len(word))]).all()


def test_deep_nesting_is_read_exactly() -> None:
    rule = formal.nested("()", "[]", "{}")
    deep = "([{" * 100
    close = "}])" * 100
    assert rule.holds([deep + close]).all()
    assert not rule.holds([deep + close[:-3] + "])}"]).any()
    assert rule.viable([deep + close[:150]]).all()


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_any_text_can_be_a_completion(texts: list[str]) -> None:
    language = get_language("anbn")
    verdicts = formal.score(language, ["a"] * len(texts), texts)
    assert verdicts.parsed.tolist() == [set(text) <= {"a", "b"} for text in texts]
    assert not verdicts.word[~verdicts.parsed].any()


def test_a_very_long_completion_does_not_affect_the_others() -> None:
    language = get_language("dyck")
    completions = ["[" * 50_000 + "]" * 50_000, *["]"] * 1000]
    verdicts = formal.score(language, ["", *[")["] * 1000], completions)
    assert verdicts.word[:, 0].all()
    assert verdicts.word[0].all()


@pytest.mark.parametrize("end", ["])", "]", ")]", "])]"])
def test_a_long_word_is_read_like_a_short_one(end: str) -> None:
    rule = formal.nested("()", "[]")
    middle = "()[]" * 2000
    prefix, long = formal.WordBatch.from_strings(["(["]), formal.WordBatch.from_strings([middle + end])
    short = formal.WordBatch.from_strings([end])
    states = [rule.read(words, rule.read(prefix)) for words in (long, short)]
    assert states[0][0].tolist() == states[1][0].tolist()
    assert states[0][1].tolist() == states[1][1].tolist() or states[0][0][0] < 0
    assert rule.accepts(states[0]) == closes("([" + end, "()[]")


def test_rates_have_the_counts_of_their_definitions() -> None:
    language = get_language("anbn")
    report = formal.aggregate(
        formal.score(
            language, ["ba", "ba", "ba", "ba", "aab"], ["", "b", "x", "", "b"], [True, True, True, False, True]
        )
    )
    first, second = report.rules["as_equal_bs"], report.rules["as_before_bs"]
    assert (first.word.all.hits, first.word.all.n) == (2, 5)
    assert (first.word.finished.hits, first.word.finished.n) == (2, 4)
    # R2 holds for the finished completions "", b and b.
    assert (second.completion.all.hits, second.completion.finished.n) == (3, 4)
    assert (report.headline.hits, report.headline.n) == (1, 4)
    assert (report.finished.hits, report.empty.hits, report.unparsable.hits) == (4, 2, 1)
    assert (report.grammatical.hits, report.grammatical.n) == (1, 5)
    nothing = formal.aggregate(formal.score(language, ["ba"], [""], [False]))
    assert nothing.rules["as_equal_bs"].word.finished.rate is None
    assert nothing.rules["as_equal_bs"].word.all.rate == 0


def test_a_completion_without_b_keeps_r2_of_bban_except_in_the_paper() -> None:
    for paper, expected in ((False, True), (True, False)):
        verdicts = formal.score(get_language("bban", paper=paper), ["abb"], ["aa"])
        assert verdicts.completion[0, 1] == expected
        assert not verdicts.word[0, 1]


def test_several_samples_of_a_prompt_widen_the_interval() -> None:
    language = get_language("anbn")
    # The samples of a prompt are equal, so there are 20 observations, not 200.
    prompts = ["ba", "bab"] * 10
    completions = [text for prompt in prompts for text in [""] * 10]
    alike = formal.aggregate(formal.score(language, prompts, completions, samples=10)).rules["as_equal_bs"].word.all
    rows = [prompt for prompt in prompts for _ in range(10)]
    apart = formal.aggregate(formal.score(language, rows, completions)).rules["as_equal_bs"].word.all
    assert alike.rate == apart.rate == 0.5
    assert alike.high - alike.low > 2.5 * (apart.high - apart.low)


def by_enumeration(
    language: Language, prompts: formal.PromptSet, source: formal.Source, limit: int
) -> dict[str, float]:
    """Return each rate as a sum over all completions up to the limit, weighted by their probabilities."""
    totals: dict[str, float] = {}
    ood = max(1, int(prompts.ood.sum()))
    for text in strings(language, limit):
        words = formal.WordBatch.from_strings([text] * len(prompts))
        state = source.read(prompts.words)
        weight = np.ones(len(prompts))
        for symbol in text:
            weight *= source.table[state[0], language.alphabet.index(symbol)]
            state = source.step(state, np.full(len(prompts), ord(symbol), np.uint8))
        weight *= source.table[state[0], -1]
        verdicts = formal.score(language, prompts, words)
        holds = {rule.name: verdicts.word[:, i] for i, rule in enumerate(language.rules)}
        holds |= {f"{rule.name} alone": verdicts.completion[:, i] for i, rule in enumerate(language.rules)}
        holds |= {"grammatical": verdicts.grammatical, "finished": np.ones(len(prompts), bool)}
        for name, hits in holds.items():
            totals[name] = totals.get(name, 0.0) + float((weight * hits).mean())
        headline = float((weight * (verdicts.open_hold & prompts.ood)).sum()) / ood
        totals["headline"] = totals.get("headline", 0.0) + headline
    return totals


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", [*NAMES, "a5", "anbnan", "markedcopy", "mod3"])
def test_chance_is_the_sum_over_all_completions(name: str, order: int) -> None:
    language = get_language(name)
    prompts = language.prompts(limit=10)
    words = language.sample(300, max_length=8, rng=np.random.default_rng(0))
    source = formal.uniform(language) if order == 0 else formal.ngram(language, words, order)
    limit = 4 if len(language.alphabet) == 4 else 5
    expected = by_enumeration(language, prompts, source, limit)
    report = formal.chance(language, prompts, source, max_new_symbols=limit)
    rates = {"headline": report.headline, "grammatical": report.grammatical, "finished": report.finished}
    for rule_name, rule in report.rules.items():
        rates |= {rule_name: rule.word.all, f"{rule_name} alone": rule.completion.all}
    for name_of_rate, rate in rates.items():
        assert rate.rate is not None
        # A rate of a language with a stack is sampled, and lies within five standard errors. All other rates are exact.
        error = 1e-12 if rate.exact else 5 * np.sqrt(expected[name_of_rate] / rate.n) + 1e-3
        assert rate.rate == pytest.approx(expected[name_of_rate], abs=error), name_of_rate
        assert rate.exact or name in ("dyck", "markedcopy")


def test_unlimited_chance_has_closed_forms() -> None:
    language = get_language("ban")
    report = formal.chance(language, language.prompts("ood"), formal.uniform(language), max_new_symbols=None)
    assert report.rules["even_as"].word.all.rate == pytest.approx(1 / 2)
    assert report.empty.rate == pytest.approx(1 / 3)
    assert report.finished.rate == pytest.approx(1)
    limited = formal.chance(language, language.prompts("ood"), formal.uniform(language), max_new_symbols=7)
    assert limited.finished.rate == pytest.approx(1 - (2 / 3) ** 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_chance_agrees_with_200_000_samples(name: str) -> None:
    language = get_language(name)
    prompts = language.prompts("ood")
    source = formal.uniform(language)
    exact = formal.chance(language, prompts, source, max_new_symbols=64)
    samples = 200_000 // len(prompts)
    rows = np.arange(len(prompts)).repeat(samples)
    completions = source.complete(prompts.words.take(rows), max_new_symbols=64, rng=np.random.default_rng(3))
    drawn = formal.aggregate(formal.score(language, prompts.take(rows), *completions), groups=False)
    pairs = [(exact.headline, drawn.headline), (exact.finished, drawn.finished)]
    for rule_name, rule in exact.rules.items():
        pairs += [(rule.word.all, drawn.rules[rule_name].word.all)]
        pairs += [(rule.completion.all, drawn.rules[rule_name].completion.all)]
    for known, sampled in pairs:
        assert known.rate is not None
        assert sampled.rate is not None
        variance = known.rate * (1 - known.rate) * (1 / sampled.n + (0 if known.exact else 1 / known.n))
        assert abs(known.rate - sampled.rate) <= 3.5 * np.sqrt(variance) + 1e-12


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: get_language("annbn"), "unknown language 'annbn': did you mean 'anbn'"),
        (lambda: get_language("anbn").prompts("odd"), "unknown kind of prompt 'odd': known: id, ood"),
        (lambda: get_language("anbn").contains(["ab", "axb"]), r"row 1: 'x' is not a symbol of the alphabet \{a, b\}"),
        (lambda: get_language("anbn").contains(["a\0b"]), r"row 0: '\\x00' is not a symbol"),
        (
            lambda: get_language("anbn").contains("ab"),
            "is a lone string, 'ab': give a list with one value for each row",
        ),
        (lambda: get_language("anbn").contains([[0, 2]]), "row 0 holds the symbol index 2: allowed are 0 = a, 1 = b"),
        (lambda: get_language("dyck").prompts(length=3), "no id prompt of dyck has 3 symbols"),
        (
            lambda: get_language("dyck").sample(1, max_length=1, rng=np.random.default_rng(0)),
            "max_length 1 is too small",
        ),
        (lambda: get_language("anbncn").prompts(length=13), "too many: the limit is 2\\^20"),
        (lambda: formal.score(get_language("anbn"), ["a"], ["b", "b"]), "1 prompts, 2 completions"),
        (lambda: formal.score(get_language("anbn"), ["a"], [None]), "completion 0 is NoneType, not a string"),  # type: ignore[list-item]
        (lambda: formal.score(get_language("anbn"), [], []), "nothing to score"),
        (lambda: formal.score(get_language("anbn"), ["x"], ["b"]), "row 0: 'x' is not a symbol"),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(mistake: Callable[[], object], message: str) -> None:
    with pytest.raises(RuleExtrapError, match=message) as caught:
        mistake()
    assert "\n" not in str(caught.value)
