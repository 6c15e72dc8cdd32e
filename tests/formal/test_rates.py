"""The rates of a report: their ceilings and intervals, chance, and the expected rates of rational learners."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from hf_ruleextrap import formal, get_language, list_languages
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import REFERENCES, chance
from hf_ruleextrap.formal import (
    Clusters,
    Language,
    Rate,
    RationalLearner,
    RationalSettings,
    Report,
    difference_interval,
    expected_report,
    rational_learner,
)
from hf_ruleextrap.formal.generated import suite
from hf_ruleextrap.formal.intervals import wilson

GENERATED = [language.name for language in suite()[::12]]
LIMIT = 24


def rates(report: Report, name: str = "") -> Iterator[tuple[str, Rate]]:
    """Yield every rate of a report and of its groups, with a name for its place in the report."""
    for row in ("headline", "finished", "empty", "unparsable", "grammatical"):
        yield f"{name}{row}", getattr(report, row)
    for rule, of_rule in report.rules.items():
        for on in ("word", "completion"):
            for among in ("all", "finished"):
                yield f"{name}{rule} {on} {among}", getattr(getattr(of_rule, on), among)
    for by, groups in report.groups.items():
        for value, group in groups.items():
            yield from rates(group, f"{name}{by} {value}: ")


@pytest.mark.parametrize("name", [*list_languages(), *GENERATED])
def test_no_reference_is_above_the_ceiling_of_any_row(name: str) -> None:
    language = get_language(name)
    words = language.sample(200, max_length=max(12, language.shortest), rng=np.random.default_rng(0))
    length = min(language.prompt_length, 4)
    best = dict(rates(chance(language, kind=None, length=length, completer="ceiling", max_new_symbols=LIMIT)))
    for completer in REFERENCES:
        report = chance(
            language, kind=None, length=length, completer=completer, max_new_symbols=LIMIT, train_words=words
        )
        for row, rate in rates(report):
            if rate.rate is not None:
                top = best[row].rate
                assert top is not None, (completer, row)
                assert 0 <= rate.rate <= top + 1e-12, (completer, row)


@pytest.mark.parametrize("name", ["anbn", "ban", "bban", "dyck", "abn", "anbm", "tomita5", "dyck1d3", "separated"])
@pytest.mark.parametrize("limit", [0, 2])
def test_each_row_is_the_best_of_all_completions(name: str, limit: int) -> None:
    """Brute force: score every completion within the limit after every prompt, and take the best value of each row."""
    language = get_language(name)
    prompts = language.prompts(length=4, limit=12, rng=np.random.default_rng(1))
    completions = ["".join(word) for n in range(limit + 1) for word in product(language.alphabet, repeat=n)]
    verdicts = formal.score(
        language, prompts, [text for _ in prompts for text in completions], samples=len(completions)
    )

    def best(holds: formal.words.BoolArray) -> formal.words.BoolArray:
        return holds.reshape(len(prompts), -1).any(axis=1)

    bounds = formal.ceiling(language, prompts, max_new_symbols=limit)
    assert bounds.grammatical.hits == best(verdicts.grammatical).sum()
    assert bounds.headline.hits == (best(verdicts.open_hold) & prompts.in_headline).sum()
    for i, rule in enumerate(language.rules):
        report = bounds.rules[rule.name]
        for split, holds in ((report.word, verdicts.word), (report.completion, verdicts.completion)):
            reached = best(holds[:, i])
            assert split.all.hits == reached.sum(), rule.name
            # Among finished completions, ending after one prompt that can count is enough.
            assert split.finished.rate == float(reached.any())


@pytest.mark.parametrize("name", ["ban", "abn", "anbm", "tomita5", "dyck1d3"])
def test_r2_on_the_completion_can_be_kept_after_every_prompt(name: str) -> None:
    report = chance(name, completer="ceiling", max_new_symbols=64)
    assert list(report.rules.values())[1].completion.all.rate == 1.0


def test_the_oracle_does_not_bound_the_rate_of_a_single_row() -> None:
    """The oracle keeps all rules that it can keep together, so another completer can have a higher rate in one row."""
    second = [
        list(chance("ban", completer=name, max_new_symbols=64).rules.values())[1] for name in ("oracle", "uniform")
    ]
    oracle, uniform = (rule.completion.all.rate for rule in second)
    assert oracle is not None
    assert uniform is not None
    assert oracle < uniform


@pytest.mark.parametrize("name", ["dyck", "anbn"])
def test_the_rates_of_a_deterministic_reference_are_exact(name: str) -> None:
    language: Language = get_language(name)
    for completer in ("always-stop", "oracle", "ceiling"):
        report = chance(language, kind=None, completer=completer, max_new_symbols=16)
        assert all(rate.exact for _, rate in rates(report)), completer


@pytest.mark.parametrize("name", ["ban", "anbn", "anbncn", "shuffle3", "dyck", "random-context-free-3"])
def test_chance_after_each_prompt_has_the_mean_of_the_report(name: str) -> None:
    language = get_language(name)
    source = formal.uniform(language)
    for kind in ("ood", "id"):
        prompts = language.prompts(kind, length=4)  # type: ignore[arg-type]
        of_prompts = formal.chance_by_prompt(language, prompts, source, max_new_symbols=12)
        report = formal.chance(language, prompts, source, max_new_symbols=12)
        rate = report.headline if kind == "ood" else report.grammatical
        assert of_prompts.exact == rate.exact
        assert of_prompts.rate == pytest.approx(rate.rate, abs=1e-12)


def test_chance_of_one_kind_of_prompt_equals_its_part_of_the_joint_report() -> None:
    language = get_language("anbn")
    of_id, of_ood = (
        formal.chance(language, language.prompts(kind), formal.uniform(language), max_new_symbols=None)
        for kind in ("id", "ood")
    )
    both = formal.chance(language, language.prompts(), formal.uniform(language), max_new_symbols=None)
    assert of_id.headline.n == 0
    assert of_ood.headline.rate == both.headline.rate
    assert both.groups["kind"]["id"].grammatical == of_id.grammatical


def test_chance_that_would_take_too_long_names_the_largest_limit() -> None:
    language = get_language("anbncndn")
    endless = formal.Source("endless", language.alphabet, 0, np.array([[0.25, 0.25, 0.25, 0.25, 0.0]]))
    with pytest.raises(RuleExtrapError, match="may go on for ever: give max_new_symbols"):
        formal.chance(language, language.prompts(limit=4), endless, max_new_symbols=None)
    message = r"endless through 50,000 new symbols .*: give max_new_symbols <= "
    with pytest.raises(RuleExtrapError, match=message) as caught:
        formal.chance(language, language.prompts(limit=4), endless, max_new_symbols=50_000)
    largest = int(str(caught.value).split("<= ")[1].split(", or")[0].replace(",", ""))
    assert 100 < largest < 5_000


# Intervals.


SAMPLES, REPEATS = 8, 3000


def drawn(rng: np.random.Generator, n: int, p: float, correlation: float, family: str) -> np.ndarray:
    """Return (REPEATS, n): the successes of 8 rows in each of n clusters, with a correlation within clusters."""
    if correlation in (0.0, 1.0):
        rates = np.full((REPEATS, n), p) if correlation == 0.0 else (rng.random((REPEATS, n)) < p).astype(float)
    elif family == "beta":
        concentration = (1 - correlation) / correlation
        rates = rng.beta(p * concentration, (1 - p) * concentration, (REPEATS, n))
    else:
        # The rows of some clusters always agree, and the rows of the other clusters are independent.
        alike = rng.random((REPEATS, n)) < correlation
        rates = np.where(alike, rng.random((REPEATS, n)) < p, p)
    return rng.binomial(SAMPLES, rates)


def coverage(hits: np.ndarray, p: float) -> float:
    """Return the share of repetitions whose interval contains p.

    Repetitions with the same counts have the same interval, so each interval is computed once.
    """
    different, times = np.unique(np.sort(hits, axis=1), axis=0, return_counts=True)
    rows = np.full(hits.shape[1], float(SAMPLES))
    ends = [Clusters(each.astype(float), rows).interval for each in different]
    return float(sum(n for (low, high), n in zip(ends, times, strict=True) if low <= p <= high) / len(hits))


@pytest.mark.parametrize("family", ["beta", "mixture"])
@pytest.mark.parametrize("n", [12, 64])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9, 0.98])
def test_an_interval_covers_at_every_correlation_within_prompts(family: str, n: int, p: float) -> None:
    rng = np.random.default_rng(3)
    for correlation in (0.0, 0.1, 0.3, 0.6, 1.0):
        assert coverage(drawn(rng, n, p, correlation, family), p) >= 0.93, correlation


def test_an_interval_has_a_width_if_all_rows_agree() -> None:
    ten = np.ones(40, np.bool_)
    kept, lost = Rate.count(ten, samples=4), Rate.count(~ten, samples=4)
    assert (kept.rate, kept.high) == (1.0, 1.0)
    assert kept.low is not None
    assert 0.7 < kept.low < 0.75
    assert lost.low == 0.0
    assert lost.high == pytest.approx(1 - kept.low)


def test_with_one_row_for_each_prompt_the_interval_is_wilson_s() -> None:
    hits = np.array([True] * 7 + [False] * 4)
    rate = Rate.count(hits)
    assert (rate.low, rate.high) == pytest.approx(wilson(7, 11))


def test_more_rows_of_prompts_that_always_agree_do_not_narrow_the_interval() -> None:
    hits = np.arange(20) % 4 == 0
    once, often = Rate.count(hits), Rate.count(hits.repeat(8), samples=8)
    assert (once.low, once.high) == pytest.approx((often.low, often.high))


def test_excluded_rows_do_not_count() -> None:
    hits, among = np.array([True, True, False, True]), np.array([True, False, True, False])
    rate = Rate.count(hits, among, samples=2)
    assert (rate.hits, rate.n) == (1, 2)
    assert rate.low is not None
    assert rate.high is not None
    assert 0 < rate.low < 0.5 < rate.high < 1


@pytest.mark.parametrize("n", [12, 64])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("samples", [1, SAMPLES])
def test_the_interval_of_a_difference_from_known_chance_covers(n: int, p: float, samples: int) -> None:
    """Chance is exact after each prompt, and the model is better after the prompts after which chance is better."""
    rng = np.random.default_rng(5)
    for chance_rate in (0.1, 0.5):
        covered, repeats = 0, 400
        for _ in range(repeats):
            ease = rng.random(n)
            known = 2 * chance_rate * ease
            # The mean rate of the model is p, and its rates rise with the ease of the prompt.
            rates = p + min(p, 1 - p) * (2 * ease - 1)
            model = Clusters(rng.binomial(samples, rates).astype(float), np.full(n, float(samples)))
            low, high = difference_interval(model, Clusters.of_rates(known, exact=True))
            covered += low <= p - chance_rate <= high
        assert covered / repeats >= 0.93, chance_rate


# Rational learners.


LENGTH = 8
WORDS = ["".join(symbols) for n in range(1, LENGTH + 1) for symbols in product("ab", repeat=n)]


def learner_of(name: str) -> RationalLearner:
    words = list(get_language(name).words(5))
    return rational_learner(get_language(name), words, max_length=LENGTH, settings=RationalSettings(epsilon=0.1))


# R2 of bban has one meaning for a whole word and another for a completion alone.
@pytest.mark.parametrize("name", ["anbn", "bban"])
@pytest.mark.parametrize("limit", [None, 0, 2])
def test_expected_rates_are_sums_over_all_words(name: str, limit: int | None) -> None:
    learner = learner_of(name)
    language, prompts = learner.language, get_language(name).prompts(length=4)
    report = expected_report(learner, prompts, max_new_symbols=limit)
    probability = learner.word_probability(WORDS)
    sums = {"finished": 0.0, "empty": 0.0, "grammatical": 0.0, "headline": 0.0}
    word, completion = np.zeros(2), np.zeros(2)
    for row, prompt in enumerate(prompts.texts):
        begins = [i for i, text in enumerate(WORDS) if text.startswith(prompt)]
        weights = probability[begins] / probability[begins].sum()
        added = [WORDS[i][len(prompt) :] for i in begins]
        ends = np.array([limit is None or len(text) <= limit for text in added])
        weights = weights * ends
        holds = np.stack([rule.holds([WORDS[i] for i in begins]) for rule in language.rules])
        alone = np.stack([rule.for_completion.holds(added) for rule in language.rules])
        sums["finished"] += weights.sum()
        sums["empty"] += weights[[text == "" for text in added]].sum()
        sums["grammatical"] += weights @ holds.all(axis=0)
        sums["headline"] += weights @ holds[prompts.open[row]].all(axis=0) if prompts.in_headline[row] else 0.0
        word, completion = word + holds @ weights, completion + alone @ weights
    for what, total in sums.items():
        n = prompts.in_headline.sum() if what == "headline" else len(prompts)
        assert getattr(report, what).rate == pytest.approx(total / n, abs=1e-9)
    for i, rule in enumerate(language.rules):
        rates = report.rules[rule.name]
        assert rates.word.all.rate == pytest.approx(word[i] / len(prompts), abs=1e-9)
        assert rates.completion.all.rate == pytest.approx(completion[i] / len(prompts), abs=1e-9)
        assert rates.word.finished.rate == pytest.approx(word[i] / sums["finished"], abs=1e-9)
    assert set(report.groups["kind"]) == {"id", "ood"}
    assert report.groups["kind"]["ood"].headline == report.headline


def test_without_ood_prompts_there_is_no_headline() -> None:
    learner = learner_of("anbn")
    report = expected_report(learner, learner.language.prompts("id", length=4))
    assert report.headline.rate is None
    assert report.grammatical.n == report.n == 3


def test_a_negative_limit_is_refused_in_one_line() -> None:
    learner = learner_of("anbn")
    with pytest.raises(RuleExtrapError, match="max_new_symbols is -1: give 0 or more"):
        expected_report(learner, learner.language.prompts(length=4), max_new_symbols=-1)
