"""Generated languages agree with the sentences of their rules, which a parser reads without the code of the rules."""

from __future__ import annotations

import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest

from hf_ruleextrap import get_language, random_conjunction
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import (
    Conjunction,
    Language,
    WordBatch,
    at_most,
    balanced,
    chance,
    count_mod,
    equal_counts,
    explore,
    no_factor,
    oracle,
    ordered,
    starts_with,
)
from hf_ruleextrap.formal.generated import GeneratedLanguage, suite
from hf_ruleextrap.formal.sources import uniform
from hf_ruleextrap.formal.viability import Finite, OneCounter, leaves_counts_free

SUITE = suite()
NAMES = [language.name for language in SUITE]


def is_balanced(word: str, opening: str, closing: str) -> bool:
    depths = np.cumsum([(x == opening) - (x == closing) for x in word] or [0])
    return bool(depths[-1] == 0 and depths.min() >= 0)


def in_order(word: str, symbols: list[str]) -> bool:
    places = [symbols.index(x) for x in word if x in symbols]
    return places == sorted(places)


SENTENCES: dict[str, Callable[[str, tuple[str, ...]], bool]] = {
    r"the number of (.) is (.) modulo (.)": lambda w, g: w.count(g[0]) % int(g[2]) == int(g[1]),
    r"the length is (.) modulo (.)": lambda w, g: len(w) % int(g[1]) == int(g[0]),
    r"an even number of (.) after the last (.)": lambda w, g: w.rpartition(g[1])[2].count(g[0]) % 2 == 0,
    r"starts with (.)": lambda w, g: w[:1] == g[0],
    r"ends with (.)": lambda w, g: w[-1:] == g[0],
    r"at most (.) (.)": lambda w, g: w.count(g[1]) <= int(g[0]),
    r"at least (.) (.)": lambda w, g: w.count(g[1]) >= int(g[0]),
    r"never (.+)": lambda w, g: g[0] not in w,
    r"(.+) somewhere": lambda w, g: g[0] in w,
    r"(every . before .*)": lambda w, g: in_order(w, re.findall("every (.)", g[0])),
    r"as many (.) as (.)": lambda w, g: w.count(g[0]) == w.count(g[1]),
    r"as many (.) as (.) as (.)": lambda w, g: w.count(g[0]) == w.count(g[1]) == w.count(g[2]),
    r"(.) (.) are balanced": lambda w, g: is_balanced(w, g[0], g[1]),
}


def predicate(sentence: str) -> Callable[[str], bool]:
    ((groups, holds),) = [
        (match.groups(), test) for text, test in SENTENCES.items() if (match := re.fullmatch(text, sentence))
    ]
    return lambda word: holds(word, groups)


def strings(language: Language, longest: int) -> list[str]:
    return ["".join(w) for n in range(longest + 1) for w in product(language.alphabet, repeat=n)]


@pytest.mark.parametrize("language", SUITE, ids=NAMES)
def test_the_proof_agrees_with_the_sentences_of_the_rules(language: GeneratedLanguage) -> None:
    first, second = (predicate(rule.summary) for rule in language.rules)
    longest = {2: 10, 3: 7, 4: 6}[len(language.alphabet)]
    words = strings(language, longest)
    r1, r2 = np.array([[first(w), second(w)] for w in words]).T
    assert [rule.holds(words).tolist() for rule in language.rules] == [r1.tolist(), r2.tolist()]
    assert (r1 & r2)[1:].any()
    assert (r1 & ~r2).any()
    assert (r2 & ~r1).any()
    # The prompts have at most two symbols, so the strings contain words that extend each viable prompt.
    kept = {word for word, good in zip(words, r1 & r2, strict=True) if good}
    heads = {word[:n] for word in kept if word for n in range(len(word) + 1)}
    short = [word for word in words if len(word) <= 2]
    assert language.viable(short).tolist() == [word in heads for word in short]
    # No completion of an OOD prompt keeps R2.
    keep_r2 = {word[:4] for word, keeps in zip(words, r2, strict=True) if keeps}
    assert not keep_r2 & set(language.prompts("ood", length=4).texts)
    if language.proof.longest == longest:
        proof = language.proof
        assert [proof.both, proof.only_r1, proof.only_r2] == [
            int(kept[1:].sum()) for kept in (r1 & r2, r1 & ~r2, r2 & ~r1)
        ]


@pytest.mark.parametrize("language", SUITE, ids=NAMES)
def test_samples_prompts_and_the_oracle_agree_with_the_rules(language: GeneratedLanguage) -> None:
    drawn = language.sample(100, max_length=40, rng=np.random.default_rng(0))
    assert language.contains(drawn).all()
    logs = language.log_probability(drawn, 40)
    assert logs is not None
    assert np.isfinite(logs).all()
    prompts = language.prompts(limit=10)
    completions, finished = oracle(language, prompts, max_new_symbols=40)
    whole = prompts.words.followed_by(completions)
    assert finished.all()
    assert language.contains(whole.take(~prompts.ood)).all()
    assert language.rules[0].holds(whole.take(prompts.ood)).all()
    assert prompts.open[prompts.ood].tolist() == [[True, False]] * int(prompts.ood.sum())
    assert min(language.proof.id_prompts, language.proof.ood_prompts) >= 8
    assert language.shortest == len(next(iter(language.words(12))))


@pytest.mark.parametrize("language", SUITE, ids=NAMES)
def test_random_completions_rarely_keep_r1(language: GeneratedLanguage) -> None:
    proof = language.proof
    assert proof.chance <= 0.75
    assert proof.ceiling - proof.chance >= 0.2
    # The share of drawn completions that keep R1 by its sentence is within five standard errors of chance.
    keeps, rng, draws = predicate(language.rules[0].summary), random.Random(0), 2000
    texts = language.prompts("ood").texts
    kept = sum(keeps(rng.choice(texts) + completion(rng, language)) for _ in range(draws))
    assert kept / draws == pytest.approx(proof.chance, abs=5 * (0.25 / draws) ** 0.5)


def completion(rng: random.Random, language: Language) -> str:
    """Return a completion in which each symbol and the end are equally likely at each place."""
    symbols: list[str] = []
    while (drawn := rng.choice([*language.alphabet, ""])) and len(symbols) < 64:
        symbols.append(drawn)
    return "".join(symbols)


@pytest.mark.parametrize("name", NAMES[::9])
def test_the_proof_states_the_chance_of_the_report(name: str) -> None:
    language = get_language(name)
    assert isinstance(language, GeneratedLanguage)
    report = chance(language, language.prompts("ood"), uniform(language), max_new_symbols=64)
    assert report.headline.rate == pytest.approx(language.proof.chance, abs=1e-12)
    assert report.headline.exact


def signature(language: Language) -> bytes:
    """Return which strings of up to five symbols keep R1 and R2, independently of the names of the letters."""
    k = len(language.alphabet)
    tables = []
    for order in permutations(language.alphabet):
        strings = ["".join(word) for n in range(6) for word in product(order, repeat=n)]
        tables.append(np.stack([rule.holds(strings) for rule in language.rules[:2]]))
    return min(bytes([k]) + np.packbits(table).tobytes() for table in tables)


def test_the_suite_is_a_hundred_different_problems() -> None:
    assert len(SUITE) == 100
    assert len(set(map(signature, SUITE))) == 100


def test_a_signature_does_not_depend_on_the_letters() -> None:
    def language_of(letters: str, symbol: str) -> Language:
        rules = (at_most(symbol, 1), starts_with(symbol))
        body = {"name": "x", "summary": "a test", "level": "regular", "alphabet": tuple(letters), "rules": rules}
        return type("TestLanguage", (Language,), body)()

    assert signature(language_of("ab", "a")) == signature(language_of("ab", "b")) == signature(language_of("xy", "y"))
    assert signature(language_of("ab", "a")) != signature(language_of("abc", "a"))


def test_a_seed_gives_the_same_language_in_every_process() -> None:
    names = NAMES[::9]
    text = "from hf_ruleextrap import get_language as g; import sys\n"
    text += (
        "for n in sys.argv[1:]: x = g(n); print(n, x.alphabet, [r.summary for r in x.rules], x.prompts()[0], x.proof)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", text, *names],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = [(get_language(name), name) for name in names]
    expected = "".join(
        f"{name} {x.alphabet} {[rule.summary for rule in x.rules]} {x.prompts()[0]} {x.proof}\n"  # type: ignore[attr-defined]
        for x, name in here
    )
    assert outputs == {expected}


def test_a_seed_keeps_its_language_in_later_versions() -> None:
    # If this test fails, published results are no longer about the same languages.
    assert random_conjunction(7).summary == "cvc somewhere and starts with g"
    assert random_conjunction(0, "context-free").summary == "every h before every l and c l are balanced"
    assert random_conjunction(0, "context-sensitive").summary == "o l are balanced and l p are balanced"


def test_a_generated_language_has_a_name_and_can_be_pickled() -> None:
    language = random_conjunction(7, level="regular")
    assert language.name == "random-regular-7"
    assert type(get_language(language.name)) is type(language)
    assert get_language(language.name, paper=True).paper
    again = pickle.loads(pickle.dumps(get_language(language.name, paper=True)))
    assert (again.name, again.paper) == (language.name, True)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: random_conjunction(1, "regulr"), "unknown level 'regulr': did you mean 'regular'"),
        (lambda: random_conjunction(-1), "seed is -1: give 0 or more"),
        (lambda: get_language("random-regular-x"), "'random-regular-x' names no generated language: give"),
        (lambda: get_language("random-regular-07"), "names no generated language"),
    ],
)
def test_invalid_seeds_levels_and_names_are_refused_in_one_line(mistake: Callable[[], object], message: str) -> None:
    with pytest.raises(RuleExtrapError, match=message) as caught:
        mistake()
    assert "\n" not in str(caught.value)


def test_one_counter_viability_is_exact_for_long_prefixes() -> None:
    # a^n needs n b. With at most two b, only a^n with n <= 2 is viable.
    equal = OneCounter(equal_counts("a", "b"), at_most("b", 2), "ab")
    counter, bound = equal_counts("a", "b"), at_most("b", 2)
    prefixes = WordBatch.from_strings(["", "aa", "aaa", "bb", "bba", "a" * 500, "ab" * 3])
    alive = equal.alive(counter.read(prefixes), bound.read(prefixes))
    assert alive.tolist() == [True, True, False, True, True, False, False]
    # At the end the numbers of a and b are equal, and the number of b is odd.
    parity = count_mod("b", 2, 1)
    free = OneCounter(balanced("a", "b"), parity, "ab")
    far = WordBatch.from_strings(["a" * 301, "a" * 300 + "b" * 300, "b"])
    assert free.alive(balanced("a", "b").read(far), parity.read(far)).tolist() == [True, True, False]


@pytest.mark.parametrize("counter", [equal_counts("a", "b"), balanced("a", "b")], ids=["equal", "balanced"])
@pytest.mark.parametrize(
    "finite", [ordered("b", "a"), at_most("a", 2), no_factor("bb"), no_factor("ab"), count_mod("a", 3, 2)], ids=str
)
def test_one_counter_viability_agrees_with_enumeration(counter: object, finite: object) -> None:
    rules = [counter, finite]
    machine = Conjunction(rules)  # type: ignore[arg-type]
    joint = OneCounter(*rules, "ab")  # type: ignore[arg-type]
    # For each state within four symbols: whether at most twenty more symbols lead to a word.
    graph = explore(machine, "ab", 24)
    near = graph.depth <= 4
    expected = (graph.distance >= 0)[near]
    first, second = machine.split(tuple(register[near] for register in graph.states))
    assert joint.alive(first, second).tolist() == expected.tolist()


def test_finite_rules_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(RuleExtrapError, match="exclude each other"):
        Finite(Conjunction([starts_with("a"), starts_with("b")]), "ab")


@pytest.mark.parametrize(
    ("rule", "free"),
    [
        (starts_with("a"), True),
        (no_factor("ab"), True),
        (count_mod("a", 3, 1), True),
        (at_most("a", 2), False),
        (ordered("a", "b"), False),
        (no_factor("cc"), True),
    ],
    ids=str,
)
def test_only_rules_without_bounds_or_order_leave_counts_free(rule: object, free: bool) -> None:
    assert leaves_counts_free(equal_counts("a", "b", "c"), rule, "abc") == free  # type: ignore[arg-type]
