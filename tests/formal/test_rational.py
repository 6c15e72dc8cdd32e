"""The rational learners agree with an enumeration of all hypotheses and all words, and with known limits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, product
from math import comb, log

import numpy as np
import numpy.typing as npt
import pytest

from hf_ruleextrap import get_language
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.formal.hypotheses import candidate_rules
from hf_ruleextrap.formal.measures import description_bits
from hf_ruleextrap.formal.posterior import EXCEPTIONS, HypothesisSpace, Posterior, RationalSettings
from hf_ruleextrap.formal.rational import LEARNERS, RationalLearner, rates_by_words, rational_learner
from hf_ruleextrap.formal.rational_report import explain

LENGTH = 8
WORDS = ["".join(symbols) for n in range(1, LENGTH + 1) for symbols in product("ab", repeat=n)]
SETTINGS = RationalSettings(epsilon=0.05, delta=0.2, budget=25.0, exception_budget=17.0)
DATA = {
    "anbn": ["ab", "aabb", "aabb", "aaaabbbb"],
    "ban": ["b", "baa", "bbaba", "baabbaa"],
    "anbm": ["aab", "abbb", "ab"],
}


@dataclass(frozen=True)
class Enumeration:
    """A learner that enumerates: each hypothesis is the list of its words, and all sums are written out."""

    name: str
    exceptions: str

    @cached_property
    def language(self) -> Language:
        return get_language(self.name)

    @cached_property
    def hypotheses(self) -> list[tuple[int, ...]]:
        """The hypotheses, as indices of rules; the conjunction of the language comes first."""
        own = tuple(range(len(self.language.rules)))
        short = [h for h in self.conjunctions if self.bits(h) <= SETTINGS.budget and self.distribution(h).any()]
        return list(dict.fromkeys([own, *short]))

    @cached_property
    def rules(self) -> list:
        return candidate_rules(self.language, 99)

    @cached_property
    def conjunctions(self) -> list[tuple[int, ...]]:
        places = range(len(self.rules))
        return [(), *((i,) for i in places), *combinations(places, 2)]

    def bits(self, kept: tuple[int, ...]) -> float:
        return description_bits([self.rules[i] for i in kept])

    @cached_property
    def holds(self) -> npt.NDArray[np.bool_]:
        return np.stack([rule.holds(WORDS) for rule in self.rules])

    def distribution(self, kept: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Return the probability of each word: the length is uniform, then the word of that length."""
        inside = self.holds[list(kept)].all(axis=0)
        lengths = np.array([len(word) for word in WORDS])
        numbers = np.bincount(lengths[inside], minlength=LENGTH + 1)
        count = (numbers > 0).sum()
        return np.where(inside, 1 / np.maximum(numbers[lengths] * count, 1), 0.0)

    def exception(self, kept: tuple[int, ...]) -> npt.NDArray[np.float64]:
        if self.exceptions == "uniform" or not kept:
            return self.distribution(()) if self.exceptions != "simple" else self.simple
        if self.exceptions == "simple":
            return self.simple
        delta, total, mixture = SETTINGS.delta, 0.0, np.zeros(len(WORDS))
        for stays in product((True, False), repeat=len(kept)):
            if not all(stays):
                weight = np.prod([1 - delta if stay else delta for stay in stays])
                rest = tuple(rule for rule, stay in zip(kept, stays, strict=True) if stay)
                total, mixture = total + weight, mixture + weight * self.distribution(rest)
        return mixture / total

    @cached_property
    def simple(self) -> npt.NDArray[np.float64]:
        own = range(len(self.language.rules))
        of_own = [h for n in range(len(own) + 1) for h in combinations(own, n)]
        short = [h for h in self.conjunctions if self.bits(h) <= SETTINGS.exception_budget]
        programs = [h for h in dict.fromkeys([*short, *of_own]) if self.distribution(h).any()]
        weights = np.array([2 ** -self.bits(h) for h in programs])
        return (weights / weights.sum()) @ np.stack([self.distribution(h) for h in programs])

    @cached_property
    def mixed(self) -> dict[tuple[int, ...], npt.NDArray[np.float64]]:
        epsilon = SETTINGS.epsilon
        return {h: (1 - epsilon) * self.distribution(h) + epsilon * self.exception(h) for h in self.hypotheses}

    @cached_property
    def posterior(self) -> dict[tuple[int, ...], float]:
        rows = [WORDS.index(word) for word in DATA[self.name]]
        logs = np.array([-self.bits(h) * log(2) + np.log(self.mixed[h][rows]).sum() for h in self.hypotheses])
        weights = np.exp(logs - logs.max())
        return dict(zip(self.hypotheses, weights / weights.sum(), strict=True))

    @cached_property
    def predictive(self) -> npt.NDArray[np.float64]:
        return np.sum([self.posterior[h] * self.mixed[h] for h in self.hypotheses], axis=0)

    def after(self, prompt: str) -> npt.NDArray[np.float64]:
        begins = np.array([word.startswith(prompt) for word in WORDS])
        return self.predictive * begins / (self.predictive * begins).sum()

    def greedy(self, prompt: str) -> str:
        word = prompt
        while True:
            mass = [float(self.predictive[[w.startswith(word + s) for w in WORDS]].sum()) for s in "ab"]
            mass.append(float(self.predictive[WORDS.index(word)]))
            best = next(i for i in range(3) if mass[i] >= max(mass) * (1 - 1e-9))
            if best == 2:
                return word[len(prompt) :]
            word += "ab"[best]


@lru_cache
def both(name: str, exceptions: str) -> tuple[Enumeration, RationalLearner]:
    learner = rational_learner(
        get_language(name), DATA[name], f"rational-{exceptions}", max_length=LENGTH, settings=SETTINGS
    )
    return Enumeration(name, exceptions), learner


each = pytest.mark.parametrize(("name", "exceptions"), list(product(DATA, EXCEPTIONS)))


@each
def test_the_posterior_agrees_with_enumeration(name: str, exceptions: str) -> None:
    enumeration, learner = both(name, exceptions)
    space = learner.posterior.space
    exact = {frozenset(space.rules.index(enumeration.rules[i]) for i in h): p for h, p in enumeration.posterior.items()}
    computed = learner.posterior.probabilities
    assert set(computed) <= set(exact)
    assert len(exact) > 300
    assert max(abs(computed.get(h, 0.0) - p) for h, p in exact.items()) < 1e-9


@each
def test_the_completions_agree_with_enumeration(name: str, exceptions: str) -> None:
    enumeration, learner = both(name, exceptions)
    language = enumeration.language
    np.testing.assert_allclose(learner.word_probability(WORDS), enumeration.predictive, rtol=1e-9, atol=0)
    prompts = language.label(WORDS[: 2**7 - 2])
    rates, completions = learner.headline(prompts), learner.complete(prompts)[0]
    short = learner.headline(prompts, max_new_symbols=2)
    table = learner.next_symbol(prompts.words)
    lengths = np.array([len(word) for word in WORDS])
    for row, prompt in enumerate(prompts.texts):
        after = enumeration.after(prompt)
        kept = enumeration.holds[: len(language.rules)][prompts.open[row]].all(axis=0)
        assert rates[row] == pytest.approx(after @ kept, abs=1e-9)
        assert short[row] == pytest.approx(after @ (kept & (lengths <= len(prompt) + 2)), abs=1e-9)
        assert completions[row] == enumeration.greedy(prompt)
        following = [after[[word.startswith(prompt + symbol) for word in WORDS]].sum() for symbol in "ab"]
        np.testing.assert_allclose(table[row], [*following, after[WORDS.index(prompt)]], atol=1e-9)


@each
def test_the_probabilities_of_the_kept_rules_sum_to_1(name: str, exceptions: str) -> None:
    enumeration, learner = both(name, exceptions)
    for explanation in explain(learner, enumeration.language.label(["baa", "abb", "aba", "aab"])):
        assert sum(kept.probability for kept in explanation.kept) == pytest.approx(1, abs=1e-9)


def test_an_explanation_does_not_overstate_the_kept_rules() -> None:
    # The probability of the programs that keep R1 is at most the probability of the words that keep R1.
    learner = one_hypothesis("anbn", RationalSettings(), "modular")
    (explanation,) = explain(learner, learner.language.label(["baa"]))
    r1 = sum(kept.probability for kept in explanation.kept if "as_equal_bs" in kept.rules)
    assert 0.5 < r1 <= explanation.open_rules_hold


def one_hypothesis(name: str, settings: RationalSettings, kind: str, max_length: int = 12) -> RationalLearner:
    """Return a learner whose only hypotheses are the language's own conjunction and the conjunction of no rules."""
    language = get_language(name)
    words = language.sample(64, max_length=max_length, rng=np.random.default_rng(0))
    return rational_learner(language, words, f"rational-{kind}", max_length=max_length, settings=settings)


@pytest.mark.parametrize("name", ["dyck", "markedcopy", "dyck2d3"])
def test_counts_of_short_words_agree_with_enumeration(name: str) -> None:
    language = get_language(name)
    programs = HypothesisSpace(language, 6).programs
    for kept in (frozenset({0}), frozenset({1}), frozenset({0, 1})):
        rules = [language.rules[i] for i in sorted(kept)]
        logs = programs.log_word(kept)
        lengths = [n for n in range(1, 7) if np.isfinite(logs[n])]
        for length in lengths:
            texts = ["".join(symbols) for symbols in product(language.alphabet, repeat=length)]
            number = np.logical_and.reduce([rule.holds(texts) for rule in rules]).sum()
            assert logs[length] == pytest.approx(-log(number) - log(len(lengths)), abs=1e-9)


def test_dyck_is_counted_at_the_lengths_of_the_mini_study() -> None:
    language = get_language("dyck")
    words = list(language.sample(32, max_length=32, rng=np.random.default_rng(0)))
    learner = rational_learner(language, words, max_length=32)
    # The number of Dyck words of two kinds of brackets: a Catalan number times 2^n.
    n = 16
    number = log(comb(2 * n, n)) - log(n + 1) + n * log(2)
    assert learner.posterior.space.programs.log_word(learner.posterior.space.own)[32] == pytest.approx(
        -number - log(16), abs=1e-9
    )
    assert learner.headline(language.prompts("ood")).mean() == pytest.approx(0.092, abs=0.001)


def test_work_of_hours_is_refused_before_it_begins() -> None:
    with pytest.raises(RuleExtrapError, match=r"counting the words of [\d,]+ hypotheses for csdyck would take about"):
        rational_learner(get_language("csdyck"), ["()", "[]"], max_length=400)


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_after_an_id_prompt_a_single_hypothesis_decides_the_next_symbol(kind: str) -> None:
    learner = one_hypothesis("anbn", RationalSettings(budget=1, exception_budget=1, epsilon=1e-9), kind)
    assert learner.posterior.probabilities[frozenset({0, 1})] == pytest.approx(1, abs=1e-9)
    table = learner.next_symbol(["aab", "aa"])
    np.testing.assert_allclose(table[0], [0, 1, 0], atol=1e-6)
    # Five words of up to 12 symbols begin with aa. In one of them, b follows.
    np.testing.assert_allclose(table[1], [4 / 5, 1 / 5, 0], atol=1e-6)


@pytest.mark.parametrize("name", ["anbn", "anbncn", "ban", "bban", "csdyck", "shuffle3", "separated"])
def test_without_dropped_rules_a_learner_keeps_every_open_rule_that_can_be_kept(name: str) -> None:
    learner = one_hypothesis(name, RationalSettings(budget=1, delta=1e-12), "modular")
    prompts = learner.language.prompts("ood")
    # If all rules are open after an OOD prompt, no completion keeps them all.
    some_broken = prompts.in_headline & ~prompts.open.all(axis=1)
    prompts = prompts.take(some_broken).take(slice(0, 200))
    rates = learner.headline(prompts)
    possible = [_can_be_kept(learner, prompt.text, prompt.open) for prompt in prompts]
    np.testing.assert_allclose(rates[possible], 1.0, atol=1e-6)
    assert not rates[~np.array(possible)].any()
    assert any(possible)


def _can_be_kept(learner: RationalLearner, prompt: str, names: tuple[str, ...]) -> bool:
    language = learner.language
    rules = frozenset(i for i, rule in enumerate(language.rules) if rule.name in names)
    program = learner.posterior.space.programs.program(rules)
    state = program.graph.read(WordBatch.from_strings([prompt]))
    return bool(program.gain(len(prompt))[state] > 0)


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_a_learner_that_expects_only_exceptions_follows_them(kind: str) -> None:
    settings = RationalSettings(budget=1, exception_budget=9, epsilon=1 - 1e-12, delta=0.3)
    learner = one_hypothesis("anbn", settings, kind, LENGTH)
    # The expected mixture, by hand: the remainders of the two rules, weighted by the posterior of both hypotheses.
    enumeration = Enumeration("anbn", kind)
    uniform = enumeration.distribution(())
    own = learner.posterior.probabilities[frozenset({0, 1})]
    if kind == "modular":
        weights = np.array([0.21, 0.21, 0.09]) / 0.51
        parts = [enumeration.distribution(h) for h in ((0,), (1,), ())]
        expected = own * (weights @ np.stack(parts)) + (1 - own) * uniform
    elif kind == "uniform":
        expected = uniform
    else:
        programs = {h: enumeration.bits(h) for h in enumeration.conjunctions if enumeration.bits(h) <= 9}
        programs |= {h: enumeration.bits(h) for h in ((), (0,), (1,), (0, 1))}
        shares = np.array([2.0**-bits for bits in programs.values()])
        expected = (shares / shares.sum()) @ np.stack([enumeration.distribution(h) for h in programs])
    np.testing.assert_allclose(learner.word_probability(WORDS), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["anbn", "ban", "mod3"])
def test_more_words_raise_the_posterior_of_the_languages_own_words(name: str) -> None:
    language = get_language(name)
    space = HypothesisSpace(language, 8)
    words = list(language.sample(256, max_length=8, rng=np.random.default_rng(1)))
    shares = [Posterior.of(space, words[:n], "modular").own_words for n in (0, 4, 16, 64, 256)]
    assert shares[0] < 0.01
    assert shares[-1] > 0.99
    assert shares[0] < shares[1] < shares[2] <= shares[-1] + 1e-9


def test_the_rates_by_words_are_those_of_learners_that_saw_the_first_words() -> None:
    language = get_language("anbn")
    words = ["aabb", "ab", "aaabbb", "ab"]
    prompts = language.label(["baa", "abab"])
    rates = rates_by_words(HypothesisSpace(language, 8), words, prompts, [0, 3], "rational-simple")
    later = rational_learner(language, words[:3], "rational-simple", max_length=8)
    np.testing.assert_allclose(rates[1], later.headline(prompts))
    assert rates.shape == (2, 2)
    with pytest.raises(RuleExtrapError, match="the number of words seen is 5: give 0 to 4"):
        rates_by_words(HypothesisSpace(language, 8), words, prompts, [5])


def test_drawn_completions_follow_the_learner() -> None:
    learner = rational_learner(get_language("anbn"), ["ab", "aabb"] * 8, max_length=8)
    prompts = learner.language.label(["baa"] * 4000)
    completions, finished = learner.complete(prompts, rng=np.random.default_rng(0))
    assert finished.all()
    kept = learner.language.rules[0].holds(prompts.words.followed_by(completions)).mean()
    assert kept == pytest.approx(learner.headline(learner.language.label(["baa"]))[0], abs=0.03)


@pytest.mark.parametrize("name", ["anbn", "anbncn", "dyck", "flipflop", "shuffle3"])
def test_description_lengths_satisfy_the_kraft_inequality(name: str) -> None:
    # Kraft's sum over the conjunctions of no rules, of one rule, and of two rules.
    language = get_language(name)
    lengths = [description_bits([rule]) for rule in candidate_rules(language, 99)]
    one = sum(2.0 ** -(bits - 1) for bits in lengths)
    assert 0.5 * (1 + one + one**2 / 16) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": {"epsilon": 0.0}}, "epsilon is 0.0: give a probability between 0 and 1"),
        ({"settings": {"delta": 1.0}}, "delta is 1.0: give a probability between 0 and 1"),
        ({"settings": {"epsilon": float("nan")}}, "epsilon is nan"),
        ({"settings": {"budget": 0.5}}, "no hypothesis is so short: give 1 or more"),
        ({"words": ["ab", "axb"]}, "row 1: 'x' is not a symbol of the alphabet"),
        ({"words": ["ab", ""]}, "training word 1 has 0 symbols"),
        ({"words": ["ab", "a" * 9], "max_length": 8}, "training word 1 has 9 symbols: give words of 1 to 8 symbols"),
        ({"words": []}, "there are no training words to tell the largest length: give max_length"),
        ({"name": "rational-modest"}, "did you mean 'rational-modular'"),
        ({"max_length": 1}, "max_length 1 is too small"),
        ({"language": "dyck", "words": ["()"], "max_length": 64}, "has too many states: give max_length 35 or less"),
        ({"max_length": 2000}, "give 830 or less"),
    ],
)
def test_invalid_learner_arguments_are_refused_in_one_line(arguments: dict, message: str) -> None:
    call = {"language": "anbn", "words": ["ab"], **arguments}
    with pytest.raises(RuleExtrapError, match=r".") as caught:
        rational_learner(
            get_language(call["language"]),
            call["words"],
            call.get("name", "rational"),
            max_length=call.get("max_length"),
            settings=RationalSettings(**call.get("settings", {})),
        )
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_prompt_longer_than_any_word_is_refused_in_one_line() -> None:
    learner = rational_learner(get_language("anbn"), ["ab", "aabb"])
    with pytest.raises(RuleExtrapError, match="the prompt baaaa has 5 symbols, and no word"):
        learner.headline(learner.language.label(["a", "baaaa"]))


def test_the_learners_have_fixed_names() -> None:
    assert list(LEARNERS) == ["rational-uniform", "rational-simple", "rational-modular"]
