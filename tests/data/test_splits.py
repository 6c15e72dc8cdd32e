from __future__ import annotations

import numpy as np
import pytest

from hf_ruleextrap.data import Splits, build_splits, fingerprints
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.formal.families import Regular
from hf_ruleextrap.formal.rules import even_count, starts_with
from hf_ruleextrap.languages import get_language, list_languages

FEW = [name for name in list_languages() if get_language(name).one_word_per_length]
MANY = [name for name in list_languages() if name not in FEW]


class Unknown(Regular):
    """A language whose log_probability is unknown."""

    name, summary, alphabet = "unknown", "a first, an even number of b", ("a", "b")
    rules = (starts_with("a"), even_count("b"))

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        return super().draw(n, max_length, rng)

    def log_probability(self, *_: object) -> None:
        return None


def splits_of(name: str | Language, *, seed: int = 0, disjoint: bool = True, max_length: int = 32) -> Splits:
    language = get_language(name)
    return build_splits(language, max_length=max_length, train_size=300, held_out_size=60, seed=seed, disjoint=disjoint)


@pytest.mark.parametrize("name", list_languages())
def test_no_held_out_word_is_trained_on_and_all_words_belong_to_the_language(name: str) -> None:
    splits = splits_of(name)
    language = get_language(name)
    assert all(language.contains(words).all() for words in (splits.train, splits.validation, splits.test))
    assert not np.isin(fingerprints(splits.train), splits.held_out).any()
    assert set(splits.held_out) <= {*fingerprints(splits.validation), *fingerprints(splits.test)}


@pytest.mark.parametrize("name", [*MANY, Unknown()], ids=str)
def test_held_out_words_are_at_most_a_tenth_of_the_draws(name: str | Language) -> None:
    language = get_language(name)
    for max_length in (12, 32):
        splits = splits_of(name, max_length=max_length)
        draws = language.sample(5000, max_length=max_length, rng=np.random.default_rng(9))
        # Five standard errors above a tenth.
        assert np.isin(fingerprints(draws), splits.held_out).mean() <= 0.1 + 5 * (0.09 / 5000) ** 0.5
        if isinstance(name, str):
            held_out = sorted({*splits.validation, *splits.test} - {*splits.train})
            logs = language.log_probability(words_of(splits.held_out, held_out), max_length)
            assert logs is not None
            assert np.exp(logs).sum() <= 0.1 + 1e-12


def words_of(held_out: np.ndarray, words: list[str]) -> WordBatch:
    batch = WordBatch.from_strings(words)
    return batch.take(np.isin(fingerprints(batch), held_out))


@pytest.mark.parametrize("name", ["ban", "dyck", "csdyck", "majority", "s3"])
def test_most_test_words_of_a_language_with_many_words_are_held_out(name: str) -> None:
    splits = splits_of(name)
    assert np.isin(fingerprints(splits.test), splits.held_out).mean() > 0.5
    assert not {*splits.train} & {word for word in splits.test if len(word) > 24}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", list_languages())
def test_the_shortest_words_that_complete_an_id_prompt_are_never_held_out(name: str, seed: int) -> None:
    language = get_language(name)
    for max_length in (16, 24):
        splits = splits_of(name, seed=seed, max_length=max_length)
        words = list(language.words(10 if len(language.alphabet) > 2 else 12))
        for prompt in language.prompts("id", limit=20):
            completed = [word for word in words if word.startswith(prompt.text)]
            shortest = [word for word in completed if len(word) == len(completed[0])]
            assert not np.isin(fingerprints(WordBatch.from_strings(shortest)), splits.held_out).any()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["anbn", "anbncn"])
def test_every_word_that_the_prompts_of_the_paper_need_is_trained_on(name: str, seed: int) -> None:
    language = get_language(name)
    trained = {*splits_of(name, seed=seed).train}
    for prompt in language.prompts("id"):
        assert any(word.startswith(prompt.text) for word in trained)
    assert {word for word in language.words(32) if len(word) <= 24} <= trained


def test_words_that_complete_prompts_of_other_lengths_are_not_held_out_either() -> None:
    language = get_language("ban")
    splits = build_splits(language, max_length=16, train_size=50, held_out_size=500, seed=0, prompt_lengths=[8, 12])
    held_out = words_of(splits.held_out, [*splits.validation, *splits.test])
    assert len(held_out) > 50
    ends_early = [word for word in held_out if len(word) in (8, 12)]
    assert ends_early == []
    assert [word for word in held_out if len(word) in (9, 13) and word[:-1].count("a") % 2] == []


@pytest.mark.parametrize("name", MANY)
def test_equal_seeds_give_equal_splits(name: str) -> None:
    first, again, other = splits_of(name), splits_of(name), splits_of(name, seed=1)
    assert first.train.codes.tobytes() == again.train.codes.tobytes()
    assert list(first.validation) == list(again.validation)
    assert list(first.validation) != list(other.validation)


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("disjoint", [True, False])
def test_a_language_with_few_words_has_every_word_in_each_split(name: str, disjoint: bool) -> None:
    splits = splits_of(name, disjoint=disjoint)
    for words in (splits.train, splits.validation, splits.test):
        assert list(words) == list(get_language(name).words(32))
    assert len(splits.held_out) == 0


def test_splits_have_the_requested_sizes() -> None:
    splits = splits_of("dyck")
    assert [len(words) for words in (splits.train, splits.validation, splits.test)] == [300, 60, 60]


def test_splits_overlap_if_disjoint_is_false() -> None:
    drawn = splits_of("bban", disjoint=False)
    assert set(drawn.train) & set(drawn.validation)
    assert len(drawn.held_out) == 0


def test_splits_convert_to_a_dataset_dict() -> None:
    data = splits_of("anbn").to_dataset_dict()
    assert set(data) == {"train", "validation", "test"}
    row = data["train"][0]
    assert row == {"text": "ab", "length": 2}
