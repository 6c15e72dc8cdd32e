"""Rational learners as references by name."""

from __future__ import annotations

import pytest

from hf_ruleextrap import chance, get_language
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.rational_references import RATIONAL, learner_of, learner_rates
from hf_ruleextrap.formal import WordBatch, expected_report


@pytest.mark.parametrize("name", [name for name in RATIONAL if "," not in name])
def test_chance_by_the_name_of_a_learner_is_its_expected_report(name: str) -> None:
    language = get_language("anbn")
    learner = learner_of(language, name)
    report = chance("anbn", completer=name)
    assert report == expected_report(learner, language.prompts("ood"))
    assert report.headline.exact
    greedy = chance("anbn", completer=f"{name}, greedy")
    completions, _ = learner.complete(language.prompts("ood"))
    holds = language.rules[0].holds(language.prompts("ood").words.followed_by(completions))
    assert greedy.rules["as_equal_bs"].word.all.hits == holds.sum()


def test_rational_alone_is_modular_and_far_above_chance() -> None:
    modular = chance("anbn", completer="rational-modular")
    assert chance("anbn", completer="rational") == modular
    assert modular.headline.rate > 0.8
    assert chance("anbn").headline.rate < 0.2


def test_a_learner_learns_from_the_words_that_it_is_given() -> None:
    words = list(get_language("anbn").words(16))
    once, often = (chance("anbn", completer="rational", train_words=seen) for seen in (words[-1:], words * 16))
    assert once.headline.rate < often.headline.rate
    assert often.headline.rate > 0.8


def test_the_rates_beside_a_model_are_those_of_chance() -> None:
    language = get_language("anbn")
    words = WordBatch.from_strings(list(language.words(16)) * 8)
    prompts = language.prompts(length=6)
    for rates in learner_rates(language, words, prompts, max_new_symbols=4):
        for name, rate in ((rates.learner, rates.expected), (f"{rates.learner}, greedy", rates.greedy)):
            report = chance("anbn", completer=name, length=6, max_new_symbols=4, train_words=words)
            assert rate == report.headline


def test_the_limit_counts_longer_completions_as_failures() -> None:
    short = chance("anbn", completer="rational", max_new_symbols=2)
    assert short.finished.rate < 1
    assert short.headline.rate < chance("anbn", completer="rational").headline.rate


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"completer": "rational-modlar"}, "unknown completer 'rational-modlar': did you mean 'rational-modular'"),
        ({"completer": "rational", "train_words": ["ab"]}, "no word that the learner knows has more than 2"),
        ({"completer": "rational", "train_words": []}, "a rational learner needs training words, and there are none"),
    ],
)
def test_a_mistake_is_one_line(arguments: dict, message: str) -> None:
    with pytest.raises(RuleExtrapError) as caught:
        chance("anbn", **arguments)
    assert message in str(caught.value)
