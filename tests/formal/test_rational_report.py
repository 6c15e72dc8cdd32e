"""The expected rates of a rational learner are sums over all words, weighted by their probabilities."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hf_ruleextrap import get_language
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import RationalLearner, RationalSettings, expected_report, rational_learner

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
