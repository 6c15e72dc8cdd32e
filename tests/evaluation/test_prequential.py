"""The prequential code length, against sequential coding and distributions that are built by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.prequential import WINDOW, code_length, data_nats, ngram_code_length
from hf_ruleextrap.formal import Language, WordBatch, equal_counts, starts_with
from hf_ruleextrap.languages import get_language, list_languages


def stream(name: str, n: int, *, seed: int = 0, max_length: int = 12) -> WordBatch:
    return get_language(name).sample(n, max_length=max_length, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", ["anbn", "dyck", "anbncn"])
def test_the_n_gram_code_length_equals_that_of_sequential_coding(name: str, order: int) -> None:
    words, alphabet = stream(name, 50), get_language(name).alphabet
    counts: Counter[tuple[str, str]] = Counter()
    seen: Counter[str] = Counter()
    nats = 0.0
    for word in words:
        text = "^" * (order - 1) + word + "$"
        for place in range(order - 1, len(text)):
            context, token = text[place - order + 1 : place], text[place]
            nats -= math.log((counts[context, token] + 1) / (seen[context] + len(alphabet) + 1))
            counts[context, token] += 1
            seen[context] += 1
    assert ngram_code_length(words, len(alphabet), order) == pytest.approx(nats, rel=1e-12)


def test_the_order_of_the_words_does_not_change_the_bits_of_the_data() -> None:
    words, language = stream("ban", 200), get_language("ban")
    shuffled = words.take(np.random.default_rng(1).permutation(200))
    first, second = (
        code_length([1.0] * 20, batch, language, batch_size=10, max_length=12) for batch in (words, shuffled)
    )
    assert first.data == pytest.approx(second.data, rel=1e-13)
    assert first.ngrams == pytest.approx(second.ngrams, rel=1e-12)
    assert first.tokens == second.tokens


@pytest.mark.parametrize("name", list_languages())
def test_the_code_length_of_the_language_itself_is_the_entropy(name: str) -> None:
    language = get_language(name)
    words = stream(name, 4000)
    nats = data_nats(words, language, 12)
    entropy = language.entropy(12)
    assert entropy is not None
    error = nats.std() / math.sqrt(len(words))
    assert abs(nats.mean() - entropy.nats) <= 4 * error + 0.02


def test_a_learner_that_is_the_language_has_no_excess_after_the_first_batch() -> None:
    language, words = get_language("anbn"), stream("anbn", 600)
    costs = data_nats(words, language, 12).reshape(60, 10).sum(axis=1)
    result = code_length(costs.tolist(), words, language, batch_size=10, max_length=12)
    first = (words.lengths[:10] + 1).sum() * math.log(3) - costs[0]
    assert result.excess == pytest.approx(first, abs=1e-9)
    assert result.curve[-1][1] == pytest.approx(first, abs=1e-9)
    assert result.curve[-1][0] == result.tokens
    # From the second batch on, the excess is 0, so the running excess is 0 once the first batch has left the window.
    assert result.reached["0.01"] == int((words.lengths[: 10 * (WINDOW + 1)] + 1).sum())


def test_the_choice_among_settings_adds_to_the_code_length() -> None:
    words, language = stream("anbn", 40), get_language("anbn")
    one, eight = (code_length([5.0] * 4, words, language, batch_size=10, max_length=12, settings=n) for n in (1, 8))
    assert eight.excess_bits - one.excess_bits == pytest.approx(3)


def test_a_language_of_unknown_distribution_is_refused() -> None:
    class Mine(Language):
        name, summary, level = "mine", "as many a as b, b first", "regular"
        alphabet = ("a", "b")
        rules = (equal_counts("a", "b"), starts_with("b"))

        def log_probability(self, words: WordBatch, max_length: int) -> None:  # type: ignore[override]  # noqa: ARG002
            return None

    with pytest.raises(RuleExtrapError, match="are not known"):
        code_length([1.0], WordBatch.from_strings(["ba"]), Mine(), batch_size=1, max_length=4)
