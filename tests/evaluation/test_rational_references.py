"""Rational learners as references by name, and the divergence of their completions from a model's."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hf_ruleextrap import chance, get_language, load_model
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.rational_references import RATIONAL, learner_of, learner_rates
from hf_ruleextrap.evaluation.resemblance import Divergence, divergence_by_prompt, draw_nearest, nearest_learners
from hf_ruleextrap.formal import Source, WordBatch, expected_report, uniform
from hf_ruleextrap.formal.rational import LEARNERS


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


def test_the_name_rational_is_the_modular_learner_which_is_far_above_chance() -> None:
    modular = chance("anbn", completer="rational-modular")
    assert chance("anbn", completer="rational") == modular
    assert modular.headline.rate > 0.8
    assert chance("anbn").headline.rate < 0.2


def test_more_training_words_raise_the_rate_of_a_learner() -> None:
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
def test_invalid_learner_arguments_are_refused_in_one_line(arguments: dict, message: str) -> None:
    with pytest.raises(RuleExtrapError) as caught:
        chance("anbn", **arguments)
    assert message in str(caught.value)


ANBN = get_language("anbn")


@pytest.mark.parametrize("name", LEARNERS)
def test_the_divergence_is_the_sum_over_all_completions(name: str) -> None:
    learner = learner_of("anbn", name, max_length=8)
    prompts = ANBN.label(["baa", "abb", "aab"])
    # A completion of n symbols is n + 1 choices, each among three equally likely continuations.
    expected = []
    for prompt in prompts.texts:
        words = [prompt + "".join(symbols) for n in range(6) for symbols in product("ab", repeat=n)]
        p = learner.word_probability(words)
        p /= p.sum()
        q = np.array([(len(word) - len(prompt) + 1) * np.log(1 / 3) for word in words])
        expected.append(sum(a * (np.log(a) - b) for a, b in zip(p, q, strict=True) if a > 0))
    np.testing.assert_allclose(divergence_by_prompt(uniform(ANBN), learner, prompts), expected, atol=1e-9)


def test_a_model_that_stops_at_once_has_an_infinite_divergence() -> None:
    stop = Source("stop", ANBN.alphabet, 0, np.array([[0.0, 0.0, 1.0]]))
    (only,) = nearest_learners(stop, [learner_of("anbn", max_length=8)], ANBN.label(["baa"]))
    assert only.mean == np.inf
    assert (only.low, only.high, only.n) == (None, None, 1)


def test_a_checkpoint_has_a_nearest_learner(tiny_run: Path) -> None:
    learners = [learner_of("anbn", name, max_length=10) for name in LEARNERS]
    divergences = nearest_learners(load_model(tiny_run), learners, ANBN.prompts("ood", limit=20))
    assert {one.learner for one in divergences} == set(LEARNERS)
    assert 0 < divergences[0].mean <= divergences[1].mean <= divergences[2].mean < np.inf
    assert all(one.low < one.mean < one.high for one in divergences)


@pytest.mark.parametrize("name", LEARNERS)
def test_the_divergence_over_drawn_completions_is_close_to_the_exact_divergence(name: str) -> None:
    learner = learner_of("anbn", name, max_length=8)
    prompts = ANBN.label(["baa", "abb", "aab"])
    exact = divergence_by_prompt(uniform(ANBN), learner, prompts)
    np.testing.assert_allclose(divergence_by_prompt(uniform(ANBN), learner, prompts, draws=4000), exact, rtol=0.03)


def test_the_divergence_is_estimated_if_there_are_too_many_completions() -> None:
    learners = [learner_of("anbn", name, max_length=32) for name in LEARNERS]
    prompts = ANBN.label(["baa", "aba"])
    divergences = nearest_learners(uniform(ANBN), learners, prompts)
    assert [divergence.exact for divergence in divergences] == [False] * 3
    assert all(0 < divergence.mean < np.inf for divergence in divergences)
    assert divergences == nearest_learners(uniform(ANBN), learners, prompts)
    short = nearest_learners(uniform(ANBN), [learner_of("anbn", max_length=8)], prompts)
    assert short[0].exact


def test_a_model_without_memory_resembles_no_modular_learner() -> None:
    learners = [learner_of("anbn", name, max_length=16) for name in LEARNERS]
    prompts = ANBN.label(["baab"])
    model = Source("like rational-uniform", ANBN.alphabet, 0, learners[0].next_symbol(prompts.words))
    assert nearest_learners(model, learners, prompts)[-1].learner == "rational-modular"


def test_the_figure_fills_the_marker_of_the_nearest_learner() -> None:
    from matplotlib.figure import Figure

    divergences = [Divergence(name, mean, mean, mean, 5) for name, mean in zip(LEARNERS, (9.0, 5.0, 2.0), strict=True)]
    axes = Figure().subplots()
    draw_nearest([(f"{name}, lstm", divergences) for name in ("anbn", "anbn", "dyck")], axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["anbn, lstm", "dyck, lstm"]
    filled = [line for line in axes.lines if line.get_markerfacecolor() != "none"]
    assert [line.get_xdata()[0] for line in filled] == [2.0] * 3
