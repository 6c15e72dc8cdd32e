"""No predictor's expected test loss is below the floor, the entropy of the distribution of the test words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import TINY

from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.data import Splits, build_splits, fingerprints
from hf_ruleextrap.evaluation.likelihood import word_log_probability
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.task import Task

# For each language, the largest length of a word and the number of test words. Some of the languages have many words,
# and some have few, which are drawn often.
LANGUAGES = {"ban": (12, 512), "bban": (12, 40), "anbn": (16, 8), "parity": (10, 200), "dyck": (10, 100), "s3": (9, 60)}


def log_of(probabilities: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def predictors(language: Language, words: WordBatch, splits: Splits, max_length: int) -> dict[str, FloatArray]:
    """Return distributions over all words of the language, as log-probabilities."""
    logs = language.log_probability(words, max_length)
    assert logs is not None
    own = np.exp(logs)

    def of(split: WordBatch) -> FloatArray:
        return np.where(np.isin(fingerprints(words), fingerprints(split)), own, 0) / own.sum()

    tested, trained = (part / part.sum() for part in (of(splits.test), of(splits.train)))
    uniform = np.full(len(words), 1 / len(words))
    # Each symbol and the end have equal probability, so most of the probability is on strings that are no words.
    symbols = np.exp(-np.log(len(language.alphabet) + 1) * (words.lengths + 1.0))
    mixtures = {
        "the words tested, and a little of all": 0.98 * tested + 0.02 * own,
        "the words trained on, and a little of all": 0.98 * trained + 0.02 * own,
        "half of the words tested": 0.5 * tested + 0.5 * uniform,
        "half of its own": 0.5 * own + 0.5 * trained,
    }
    return {name: log_of(p) for name, p in {"own": own, "uniform": uniform, "symbols": symbols, **mixtures}.items()}


@pytest.mark.parametrize("name", LANGUAGES)
def test_no_predictor_s_expected_loss_is_below_the_floor(name: str) -> None:
    max_length, size = LANGUAGES[name]
    language = get_language(name)
    words = WordBatch.from_strings(list(language.words(max_length)))
    place = {word: i for i, word in enumerate(words)}
    entropy = language.entropy(max_length)
    assert entropy is not None
    runs = [
        build_splits(language, max_length=max_length, train_size=400, held_out_size=size, seed=seed)
        for seed in range(20)
    ]
    # A predictor may know the words of the first run, and is measured on the test words of all other runs.
    tests = np.array([[place[word] for word in run.test] for run in runs[1:]])
    tokens = words.lengths[tests].sum(axis=1) + tests.shape[1]
    for predictor, logs in predictors(language, words, runs[0], max_length).items():
        above = (-logs[tests].sum(axis=1) - entropy.per_token * tokens) / tokens.mean()
        # If every run tests all words of a language, the error is 0.
        error = above.std() / np.sqrt(len(above))
        assert above.mean() >= -5 * error - 1e-9, predictor
        if predictor == "own":
            assert abs(above.mean()) <= 5 * error + 1e-9
        # The exact expectation over all words.
        own = language.log_probability(words, max_length)
        assert own is not None
        expected = float(np.exp(own) @ -logs) / (entropy.mean_length + 1)
        assert expected >= entropy.per_token - 1e-12, predictor


@pytest.mark.parametrize("loss_on_padding", [False, True])
@pytest.mark.parametrize("language", ["anbn", "ban"])
def test_a_run_s_floor_is_the_entropy_and_its_excess_is_on_the_same_words(
    language: str, loss_on_padding: bool, tmp_path: Path
) -> None:
    recipe = Recipe.of(
        {**TINY, "language": language, "output_dir": str(tmp_path), "loss_on_padding": loss_on_padding}, "test"
    )
    task = Task.of(recipe)
    model = build_model(recipe.architecture, language=task.language, size=recipe.size)
    measured = task.likelihood(model, "test")
    entropy = task.language.entropy(recipe.max_length)
    logs = task.language.log_probability(task.splits.test, recipe.max_length)
    assert entropy is not None
    assert logs is not None
    tokens = recipe.max_length + 1 if loss_on_padding else entropy.mean_length + 1
    assert measured.floor == pytest.approx(entropy.nats / tokens)
    assert measured.excess == pytest.approx(measured.loss + logs.sum() / measured.tokens)
    if not loss_on_padding:
        of_model = word_log_probability(model, task.splits.test, task.language)
        assert measured.excess == pytest.approx((logs - of_model).sum() / measured.tokens, rel=1e-5)
