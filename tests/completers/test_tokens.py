"""The conversion of texts to tokens and back, with tokenizers that add or change text."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from language_models import text_tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_ruleextrap.completers import Answer, BackendConfig, Request, Turn, text_completer
from hf_ruleextrap.completers.in_process import TextTokens
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.protocol import ProtocolSettings, check_single_tokens
from hf_ruleextrap.evaluation.text import TextRun

TEXT = "a a b b\na b\na a"
REQUESTS = [Request(TEXT, 6, 0.0, 0, 0, "\n"), Request("b a", 6, 1.0, 1, 5, "\n")]
PAIRS = [("a a b b\na b\na a", " b b\n"), ("a b\n", "a a b b\n")]


def fast(tokenizer: Tokenizer, **more: Any) -> PreTrainedTokenizerFast:
    names = {"eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **more)


def around(front: str, behind: str) -> processors.TemplateProcessing:
    special = [(name, i) for i, name in enumerate(("<pad>", "<eos>", "<unk>")) if name in front + behind]
    single, pair = f"{front} $A {behind}".strip(), f"{front} $A {behind} $B {behind}".strip()
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)


def changed(**parts: Any) -> PreTrainedTokenizerFast:
    """Return the tokenizer of the small text model with some of its parts replaced."""
    tokenizer = Tokenizer.from_str(text_tokenizer().backend_tokenizer.to_str())
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return fast(tokenizer)


def byte_level(*, add_prefix_space: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<eos>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["a b b a\n a b\n"] * 9, trainer)
    return fast(tokenizer)


def sentence_piece() -> PreTrainedTokenizerFast:
    """Return a tokenizer that puts a space before each text, and drops the first space of a decoded text."""
    pieces = ["<pad>", "<eos>", "<unk>", "\n", "a", "b", "▁a", "▁b"]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace(prepend_scheme="first")]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return fast(tokenizer)


def model_with(tokenizer: Any, source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (target / name).unlink()
    tokenizer.chat_template = AutoTokenizer.from_pretrained(source).chat_template
    tokenizer.save_pretrained(target)
    return target


def answered(folder: Path) -> tuple[dict[int, Answer], list[float]]:
    completer = text_completer("hf", BackendConfig(str(folder)))
    return dict(completer.answers(REQUESTS)), completer.log_probabilities(PAIRS).tolist()


def test_special_tokens_after_a_text_change_no_answer(text_model: Path, tmp_path: Path) -> None:
    behind = model_with(changed(post_processor=around("", "<eos>")), text_model, tmp_path / "behind")
    assert answered(behind) == answered(text_model)


def test_special_tokens_are_kept_before_a_text_and_removed_after_a_text() -> None:
    tokens = TextTokens(changed(post_processor=around("<pad>", "<eos>")), "m")
    assert tokens.front == [0]
    assert tokens.of("a b")[0] == 0
    assert tokens.of("a b")[1:] == tokens.plain("a b")
    first, second = tokens.pair("a b\n", "a")
    assert first + second == tokens.of("a b\na")


@pytest.mark.parametrize("tokenizer", [byte_level(add_prefix_space=False), byte_level(add_prefix_space=True)])
def test_a_space_that_the_tokenizer_adds_before_a_text_is_removed(tokenizer: Any) -> None:
    tokens = TextTokens(tokenizer, "m")
    for text in (TEXT, "b", "b a\n", "\na"):
        assert tokens.text(tokens.plain(text)) == text


def test_the_first_space_of_an_answer_is_not_lost() -> None:
    tokens = TextTokens(sentence_piece(), "m")
    before = tokens.of(TEXT)
    new = tokens.of(f"{TEXT} b b\n")[len(before) :]
    assert tokens.added(before, new) == " b b\n"
    # Decoded alone, the tokens lose their first space.
    assert tokens.text(new) == "b b\n"
    _, second = tokens.pair("a b\n", "a a\n")
    assert tokens.tokenizer.convert_ids_to_tokens(second) == ["a", "▁a", "\n"]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"normalizer": normalizers.Lowercase()}, "The symbols are: a b"),
        ({"normalizer": normalizers.Replace("b", "a")}, "a b"),
        ({"normalizer": normalizers.Replace(Regex(" +"), " ")}, "a  b"),
        ({"normalizer": normalizers.Strip(left=False, right=True)}, "a b\n"),
        ({"normalizer": normalizers.Replace(Regex("$"), " c")}, "a b"),
        ({"decoder": decoders.Sequence([decoders.Fuse(), decoders.Replace(" b", "")])}, "a b"),
        ({}, "a strange b"),
    ],
)
def test_a_text_that_a_tokenizer_changes_is_refused(parts: dict[str, Any], text: str) -> None:
    with pytest.raises(RuleExtrapError, match="changes the text") as refused:
        TextTokens(changed(**parts), "m").plain(text)
    assert "\n" not in str(refused.value)


class Stubborn(PreTrainedTokenizerFast):
    """A tokenizer that puts special tokens around every text, even if the caller wants none."""

    def encode(self, text: Any, *_: Any, **__: Any) -> list[int]:
        return [0, *super().encode(text, add_special_tokens=False), 1]


def test_a_tokenizer_that_always_adds_special_tokens_adds_one_beginning() -> None:
    names = {"eos_token": "<eos>", "pad_token": "<pad>"}
    tokens = TextTokens(Stubborn(tokenizer_object=text_tokenizer().backend_tokenizer, **names), "m")
    assert tokens.plain(TEXT) == text_tokenizer().encode(TEXT)
    assert tokens.of(TEXT) == [0, *tokens.plain(TEXT)]
    assert tokens.pair("a b\n", "a") == ([0, *tokens.plain("a b\n")], tokens.plain("a"))


class AddsText(PreTrainedTokenizerFast):
    """A tokenizer that puts a token of the vocabulary after a text if the caller wants special tokens."""

    def encode(self, text: Any, *_: Any, add_special_tokens: bool = True, **__: Any) -> list[int]:
        return [*super().encode(text, add_special_tokens=False), *([4] if add_special_tokens else [])]


def test_an_ordinary_token_added_after_a_text_is_refused() -> None:
    names = {"eos_token": "<eos>", "pad_token": "<pad>"}
    with pytest.raises(RuleExtrapError, match="adds its special tokens"):
        TextTokens(AddsText(tokenizer_object=text_tokenizer().backend_tokenizer, **names), "m")


def test_a_token_across_the_border_of_two_texts_is_refused() -> None:
    pieces = ["<pad>", "<eos>", "<unk>", "\n", "a", " a", "\na", "b", " b"]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\na| ?[ab]|\n"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokens = TextTokens(fast(tokenizer), "m")
    assert tokens.pair("a b\n", "b a") == (tokens.of("a b\n"), tokens.of("b a"))
    with pytest.raises(RuleExtrapError, match="into one token"):
        tokens.pair("a b\n", "a b")


def test_a_symbol_whose_token_depends_on_the_next_symbol_is_refused() -> None:
    def merges(text: str) -> list[str]:
        return {"a": ["a"], "b": ["b"], "a b": ["A", " b"]}.get(text, [text[0], text[1:]])

    with pytest.raises(RuleExtrapError, match="the symbol 'a' is another token of this tokenizer where 'b' follows"):
        check_single_tokens(["a", "b"], merges)  # type: ignore[arg-type]  # only compared


def test_a_special_token_in_an_answer_is_decoded_as_text() -> None:
    tokens = TextTokens(changed(), "m")
    before, b = tokens.of(TEXT), tokens.tokenizer.convert_tokens_to_ids(" b")
    assert tokens.added(before, [b, 2, b]) == " b<unk> b"


# Conversations.

TURNS = [{"role": "user", "content": "a a"}]
WITH_BOS = "{{ bos_token }}{% for message in messages %}{{ message.content + '\n' }}{% endfor %}"


class AddsBos(PreTrainedTokenizerFast):
    """A tokenizer that puts BOS before every text, even if the caller wants no special tokens."""

    def encode(self, text: Any, *_: Any, **__: Any) -> list[int]:
        return [0, *super().encode(text, add_special_tokens=False)]


@pytest.mark.parametrize("kind", [PreTrainedTokenizerFast, AddsBos])
def test_a_conversation_begins_with_one_bos(kind: type[PreTrainedTokenizerFast]) -> None:
    tokens = TextTokens(changed(), "m")
    tokens.tokenizer = kind(tokenizer_object=changed().backend_tokenizer, bos_token="<pad>", chat_template=WITH_BOS)
    assert tokens.conversation(TURNS) == [0, *changed().encode("a a\n")]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no such\nroles') }}", "no such"),
        ("{{ messages[7].content }}", "cannot be used"),
        ("{{ messages + 1 }}", "cannot be used"),
        ("{% if %}", "cannot be used"),
        ("{{ 'a' }}", "changes the turn 'a a'"),
    ],
)
def test_a_chat_template_that_fails_or_changes_a_turn_is_refused_in_one_line(template: str, message: str) -> None:
    tokens = TextTokens(changed(), "m")
    tokens.tokenizer.chat_template = template
    with pytest.raises(RuleExtrapError, match=message) as refused:
        tokens.conversation(TURNS)
    assert "\n" not in str(refused.value)


# A whole run.


def test_a_condition_whose_text_the_tokenizer_changes_is_skipped_with_a_reason(
    text_model: Path, tmp_path: Path
) -> None:
    completer = text_completer("hf", BackendConfig(str(text_model)))
    settings = ProtocolSettings("anbn", shots=2, limit=1, samples=0)
    run = TextRun(completer, "m", settings, controls=True, out=tmp_path)
    assert "alphabet swapped" in run.conditions
    # The vocabulary has letters and a few words, and one token for everything else.
    for name in ("alphabet brackets", "alphabet signs", "rules stated"):
        assert "changes the text" in run.skipped[name]
    with pytest.raises(RuleExtrapError, match="changes the text"):
        list(completer.answers([Request("a ( b", 6, 0.0, 0, 0, "\n")]))
    with pytest.raises(RuleExtrapError, match="changes the turn"):
        list(completer.answers([Request((Turn("user", "( ("),), 6, 0.0, 0, 0, None)]))
