from __future__ import annotations

import pytest

from hf_ruleextrap.data import Splits, build_splits
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.languages import get_language, list_languages


def splits_of(name: str, *, seed: int = 0, disjoint: bool = True, max_length: int = 32) -> Splits:
    return build_splits(
        get_language(name), max_length=max_length, train_size=300, held_out_size=60, seed=seed, disjoint=disjoint
    )


@pytest.mark.parametrize("name", list_languages())
def test_no_word_is_in_two_splits_and_all_are_in_the_language(name: str) -> None:
    splits = splits_of(name)
    parts = [set(words) for words in (splits.train, splits.validation, splits.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))
    language = get_language(name)
    assert all(language.contains(words).all() for words in (splits.train, splits.validation, splits.test))


@pytest.mark.parametrize("name", list_languages())
def test_the_seed_decides_the_bytes(name: str) -> None:
    first, again, other = splits_of(name), splits_of(name), splits_of(name, seed=1)
    assert first.train.codes.tobytes() == again.train.codes.tobytes()
    assert list(first.validation) == list(again.validation)
    assert list(first.validation) != list(other.validation)


@pytest.mark.parametrize("name", ["anbn", "anbncn"])
def test_few_words_are_used_once_each_and_the_ends_are_trained_on(name: str) -> None:
    splits = splits_of(name)
    together = [*splits.train, *splits.validation, *splits.test]
    assert sorted(together, key=len) == list(get_language(name).words(32))
    for words in (splits.validation, splits.test):
        assert splits.train.lengths.min() < words.lengths.min()
        assert words.lengths.max() < splits.train.lengths.max()


def test_what_is_drawn_often_is_trained_on() -> None:
    """A word that makes up a thirty-second of all data and is not among those trained on is, to a model, no word."""
    splits = [splits_of("ban", seed=seed) for seed in range(8)]
    assert all({"b", "bb"} <= set(found.train) for found in splits)
    for found in splits:
        held_out = [*found.validation, *found.test]
        assert max(held_out.count(word) for word in held_out) < 0.1 * len(held_out)


def test_the_sizes_are_those_asked_for() -> None:
    splits = splits_of("dyck")
    assert [len(words) for words in (splits.train, splits.validation, splits.test)] == [300, 60, 60]


def test_as_in_the_paper_the_splits_overlap() -> None:
    whole = splits_of("anbn", disjoint=False)
    assert list(whole.train) == list(whole.validation) == list(get_language("anbn").words(32))
    drawn = splits_of("bban", disjoint=False)
    assert set(drawn.train) & set(drawn.validation)


@pytest.mark.parametrize(("name", "max_length"), [("anbn", 6), ("ban", 1)])
def test_too_few_words_to_hold_any_out_is_an_error_with_a_way_on(name: str, max_length: int) -> None:
    with pytest.raises(RuleExtrapError, match=r"too few.*larger max_length, or disjoint: false"):
        splits_of(name, max_length=max_length)


def test_as_datasets() -> None:
    data = splits_of("anbn").to_dataset_dict()
    assert set(data) == {"train", "validation", "test"}
    row = data["train"][0]
    assert row == {"text": "ab", "length": 2}
