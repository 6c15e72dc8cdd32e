from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.formal.words import FOREIGN_CODE
from hf_ruleextrap.languages import get_language, list_languages
from hf_ruleextrap.tokenization import build_tokenizer, decode_completions, encode, symbol_ids


@pytest.mark.parametrize("name", list_languages())
def test_each_symbol_is_one_token_and_words_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    language = get_language(name)
    build_tokenizer(language).save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == 3 + len(language.alphabet)
    for word in language.sample(20, max_length=12, rng=np.random.default_rng(0)):
        ids = tokenizer(word)["input_ids"]
        assert len(ids) == 1 + len(word)
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == word


def test_encode_agrees_with_the_tokenizer() -> None:
    language = get_language("dyck")
    words = language.sample(50, max_length=20, rng=np.random.default_rng(1))
    tokenizer = build_tokenizer(language)
    ids = encode(words, language)
    for row, word in enumerate(words):
        assert ids[row, : len(word)].tolist() == tokenizer(word)["input_ids"][1:]


def test_an_unknown_symbol_is_named_with_the_alphabet() -> None:
    with pytest.raises(RuleExtrapError, match=r"row 1: 'x' is not a symbol of the alphabet \{a, b\}"):
        encode(WordBatch.from_strings(["ab", "axb"]), get_language("anbn"))


def test_a_completion_ends_at_its_first_eos_and_a_special_token_is_foreign() -> None:
    language = get_language("anbn")
    ids = symbol_ids(build_tokenizer(language), language)
    tokens = np.array([[3, 4, 2, 4], [4, 4, 4, 4], [2, 0, 0, 0], [3, 0, 1, 2]])
    words, finished = decode_completions(tokens, language, ids=ids, eos_id=2)
    assert list(words)[:3] == ["ab", "bbbb", ""]
    assert words[3] == "a" + 2 * chr(FOREIGN_CODE)
    assert finished.tolist() == [True, False, True, True]


def test_a_tokenizer_of_another_language_is_refused() -> None:
    tokenizer = build_tokenizer(get_language("anbn"))
    with pytest.raises(RuleExtrapError, match="does not fit anbncn: it lacks 'c'"):
        symbol_ids(tokenizer, get_language("anbncn"))
