"""The loss per token, its floor and its excess, and the prequential code length, with known probabilities."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY

from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.data import Splits, build_splits, fingerprints
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import likelihood as module
from hf_ruleextrap.evaluation.likelihood import divergence, measure_likelihood, token_rows, word_log_probability
from hf_ruleextrap.evaluation.prequential import WINDOW, code_length, data_nats, ngram_code_length
from hf_ruleextrap.formal import Language, WordBatch, equal_counts, starts_with
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.languages import get_language, list_languages
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.task import Task


def test_token_rows_are_bos_word_eos_and_padding() -> None:
    rows = token_rows(WordBatch.from_strings(["ab", "aabb"]), get_language("anbn"), width=7)
    assert rows.tolist() == [[1, 3, 4, 2, 0, 0, 0], [1, 3, 3, 4, 4, 2, 0]]


def test_the_loss_is_the_mean_over_tokens_for_every_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    language = get_language("dyck")
    model = build_model("lstm", language=language, seed=0)
    rows = token_rows(language.sample(50, max_length=20, rng=np.random.default_rng(0)), language)
    whole = measure_likelihood(model, rows)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    parts = measure_likelihood(model, rows)
    assert parts.tokens == whole.tokens
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert parts.accuracy == whole.accuracy
    ids = torch.from_numpy(rows)
    labels = ids.masked_fill(ids == 0, -100)
    assert whole.loss == pytest.approx(model.eval()(input_ids=ids, labels=labels).loss.item(), rel=1e-5)


def test_the_divergence_of_the_exact_model_is_zero() -> None:
    class Exact(torch.nn.Module):
        """A model with the exact probabilities of a^n b^n, n <= 4, which looks up each prefix."""

        device = torch.device("cpu")

        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> object:
            del use_cache
            words = ["a" * n + "b" * n for n in range(1, 5)]
            logits = torch.full((*input_ids.shape, 5), -1e4)
            for row, ids in enumerate(input_ids.tolist()):
                for place in range(len(ids)):
                    prefix = "".join({3: "a", 4: "b"}.get(i, "") for i in ids[1 : place + 1])
                    following = [word[len(prefix) :][:1] or "$" for word in words if word.startswith(prefix)]
                    for token, symbol in ((3, "a"), (4, "b"), (2, "$")):
                        if symbol in following:
                            logits[row, place, token] = np.log(following.count(symbol) / len(following))
            return type("Output", (), {"logits": logits})

    language = get_language("anbn")
    exact = divergence(Exact(), language, max_length=8)  # type: ignore[arg-type]  # the function uses no other part of a model
    assert exact == pytest.approx(0, abs=1e-5)
    other = divergence(build_model("lstm", language=language, seed=0), language, max_length=8)
    assert other is not None
    assert other > 0.1
    assert divergence(build_model("lstm", language="dyck", seed=0), get_language("dyck"), max_length=64) is None


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("name", list_languages(tag="paper"))
def test_the_probabilities_of_all_words_add_up_to_one(name: str, paper: bool) -> None:
    language = get_language(name, paper=paper)
    rng = np.random.default_rng(0)
    # The sample is large enough to contain every word of at most six symbols.
    possible = sorted(set(language.sample(20_000, max_length=6, rng=rng)))
    log_probability = language.log_probability(WordBatch.from_strings(possible), 6)
    assert log_probability is not None
    assert np.exp(log_probability).sum() == pytest.approx(1)


# The authors' data (Mészáros et al., 2024): the entropy of a word, over the 257 targets of a padded row.
FLOORS = {
    "ban": 0.2734,
    "bban": 0.03667,
    "anbn": np.log(128) / 257,
    "anbncn": np.log(85) / 257,
    "dyck": 0.217,
    "csdyck": 0.630,
}


@pytest.mark.parametrize("name", FLOORS)
def test_the_entropy_of_the_paper_s_data_is_the_known_floor(name: str) -> None:
    language = get_language(name, paper=True)
    words = language.sample(4000, max_length=256, rng=np.random.default_rng(1))
    log_probability = language.log_probability(words, 256)
    assert log_probability is not None
    error = log_probability.std() / 257 / np.sqrt(len(words))
    # The published floors of the two bracket languages have a standard error themselves.
    known_to = {"dyck": 0.005, "csdyck": 0.007}.get(name, 0.00005)
    assert -log_probability.mean() / 257 == pytest.approx(FLOORS[name], abs=3 * float(np.hypot(error, known_to)))


def test_the_error_of_the_excess_is_its_spread_over_draws_of_words() -> None:
    language, rng = get_language("dyck"), np.random.default_rng(0)
    model = build_model("lstm", language=language, seed=0)
    measured = []
    for _ in range(80):
        words = language.sample(40, max_length=12, rng=rng)
        logs = language.log_probability(words, 12)
        measured.append(measure_likelihood(model, token_rows(words, language), log_probability=logs))
    spread = np.std([each.excess for each in measured], ddof=1)
    assert np.mean([each.excess_error for each in measured]) == pytest.approx(spread, rel=0.2)
    one = language.sample(1, max_length=12, rng=rng)
    alone = measure_likelihood(model, token_rows(one, language), log_probability=language.log_probability(one, 12))
    assert alone.excess is not None
    assert alone.excess_error is None


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

    def restricted_to(split: WordBatch) -> FloatArray:
        return np.where(np.isin(fingerprints(words), fingerprints(split)), own, 0) / own.sum()

    tested, trained = (part / part.sum() for part in (restricted_to(splits.test), restricted_to(splits.train)))
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
def test_the_floor_of_a_run_is_the_entropy_and_its_excess_is_measured_on_the_test_words(
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


# The prequential code length.


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
