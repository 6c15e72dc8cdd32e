"""The divergence of a learner's completions from a model's is a sum over all of them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hf_ruleextrap import get_language, load_model
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.rational_references import learner_of
from hf_ruleextrap.evaluation.resemblance import divergence_by_prompt, nearest_learners
from hf_ruleextrap.formal import Source, uniform
from hf_ruleextrap.formal.rational import LEARNERS

ANBN = get_language("anbn")


@pytest.mark.parametrize("name", LEARNERS)
def test_it_is_the_sum_over_all_completions(name: str) -> None:
    learner = learner_of("anbn", name, max_length=8)
    prompts = ANBN.label(["baa", "abb", "aab"])
    # Of three equally likely continuations, a completion of n symbols takes n and the end.
    expected = []
    for prompt in prompts.texts:
        words = [prompt + "".join(more) for n in range(6) for more in product("ab", repeat=n)]
        p = learner.word_probability(words)
        p /= p.sum()
        q = np.array([(len(word) - len(prompt) + 1) * np.log(1 / 3) for word in words])
        expected.append(sum(a * (np.log(a) - b) for a, b in zip(p, q, strict=True) if a > 0))
    np.testing.assert_allclose(divergence_by_prompt(uniform(ANBN), learner, prompts), expected, atol=1e-9)


def test_a_model_that_ends_at_once_is_infinitely_far_from_all_that_go_on() -> None:
    stop = Source("stop", ANBN.alphabet, 0, np.array([[0.0, 0.0, 1.0]]))
    (only,) = nearest_learners(stop, [learner_of("anbn", max_length=8)], ANBN.label(["baa"]))
    assert only.mean == np.inf
    assert (only.low, only.high, only.n) == (None, None, 1)


def test_a_checkpoint_has_a_nearest_learner(tiny_run: Path) -> None:
    learners = [learner_of("anbn", name, max_length=10) for name in LEARNERS]
    found = nearest_learners(load_model(tiny_run), learners, ANBN.prompts("ood", limit=20))
    assert {one.learner for one in found} == set(LEARNERS)
    assert 0 < found[0].mean <= found[1].mean <= found[2].mean < np.inf
    assert all(one.low < one.mean < one.high for one in found)


def test_too_many_completions_are_one_line() -> None:
    with pytest.raises(RuleExtrapError, match="too many to follow one by one"):
        divergence_by_prompt(uniform(ANBN), learner_of("anbn", max_length=32), ANBN.label(["b"]))
