"""A value on disk is computed once for each key, and a damaged file is computed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_ruleextrap import get_language
from hf_ruleextrap.disk_cache import cache_folder, cached, digest, language_key
from hf_ruleextrap.evaluation import Evaluator, evaluate
from hf_ruleextrap.formal import WordBatch


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return []


def value_of(calls: list[int], key: dict[str, object]) -> list[float]:
    def compute() -> list[float]:
        calls.append(1)
        return [0.1, float(len(calls))]

    return cached("numbers", key, list[float], compute)


def test_a_value_is_computed_once_for_each_key(calls: list[int]) -> None:
    assert value_of(calls, {"a": 1}) == value_of(calls, {"a": 1}) == [0.1, 1.0]
    assert value_of(calls, {"a": 2}) == [0.1, 2.0]
    assert len(list((cache_folder() / "numbers").iterdir())) == 2


@pytest.mark.parametrize("damage", ["", "[0.1, ", '["text"]', "{}"])
def test_a_damaged_file_is_computed_again(calls: list[int], damage: str) -> None:
    value_of(calls, {})
    (path,) = (cache_folder() / "numbers").iterdir()
    path.write_text(damage)
    assert value_of(calls, {}) == [0.1, 2.0]
    assert value_of(calls, {}) == [0.1, 2.0]


def test_values_are_computed_without_a_writable_folder(calls: list[int]) -> None:
    cache_folder().write_text("a file in place of the folder")
    assert [value_of(calls, {}), value_of(calls, {})] == [[0.1, 1.0], [0.1, 2.0]]


def test_keys_distinguish_languages_and_words() -> None:
    keys = [language_key(get_language(name)) for name in ("anbn", "anbm", "dyck")]
    keys.append(language_key(get_language("dyck", paper=True)))
    assert len({str(key) for key in keys}) == 4
    assert len({digest(words) for words in (["ab", "b"], ["a", "bb"], ["b", "ab"], ["ab"])}) == 4


def test_the_references_of_an_evaluation_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The references depend on the length limit, the training words and the prompt length."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    language, words = get_language("ban"), WordBatch.from_strings(["baa", "bb"])
    settings = {"prompt_length": 3, "max_new_symbols": 4, "train_words": words}
    first = Evaluator(language, **settings).references
    monkeypatch.setattr(evaluate, "reference_report", lambda *_, **__: pytest.fail("computed again"))
    assert Evaluator(language, **settings).references == first
    for change in ({"max_new_symbols": 5}, {"prompt_length": 4}, {"train_words": WordBatch.from_strings(["bb"])}):
        with pytest.raises(pytest.fail.Exception, match="computed again"):
            Evaluator(language, **{**settings, **change})
