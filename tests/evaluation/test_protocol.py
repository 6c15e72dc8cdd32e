"""The text protocol: the texts that a model reads, and the parsing of its answers."""

from __future__ import annotations

import re
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.protocol import (
    ALPHABETS,
    CONTEXTS,
    CONTROL_ALPHABETS,
    Parsed,
    ProtocolSettings,
    Turn,
    check_single_tokens,
    context_words,
    merged_ends,
    parse,
    rendered,
    rules_in_words,
)
from hf_ruleextrap.languages import get_language, list_languages

# Examples have no deadline, because a machine may be busy.
PATIENT = hypothesis.settings(deadline=None)

GOLDEN = Path(__file__).with_name("prompts.txt").read_text(encoding="utf-8")
LANGUAGES = st.sampled_from(list_languages(tag="paper"))


@st.composite
def conditions(draw: st.DrawFn) -> ProtocolSettings:
    return ProtocolSettings(
        draw(LANGUAGES),
        alphabet=draw(st.sampled_from(sorted(ALPHABETS))),
        shots=draw(st.integers(0, 6)),
        context=draw(st.sampled_from(sorted(CONTEXTS))),
        rules_stated=draw(st.booleans()),
        chat=draw(st.booleans()),
        kind=draw(st.sampled_from(["id", "ood"])),
        seed=draw(st.integers(0, 3)),
        limit=2,
    )


def shown(turns_or_text: str | tuple[Turn, ...]) -> str:
    if isinstance(turns_or_text, str):
        return turns_or_text
    return "\n".join(f"[{turn.role}]\n{turn.content}" for turn in turns_or_text)


# The prompts in the golden file: each language of the paper, each form of a prompt, each context and each alphabet.
CASES = {
    **{f"{name}-base": (ProtocolSettings(name, shots=6), 0) for name in list_languages(tag="paper")},
    "anbn-chat": (ProtocolSettings("anbn", shots=6, chat=True), 0),
    "dyck-chat-words-rules": (ProtocolSettings("dyck", shots=4, chat=True, alphabet="words", rules_stated=True), 3),
    "anbn-base-rules": (ProtocolSettings("anbn", shots=6, rules_stated=True), 0),
    **{f"anbn-{context}": (ProtocolSettings("anbn", shots=6, context=context), 0) for context in CONTEXTS},
    **{f"anbncn-{name}": (ProtocolSettings("anbncn", shots=3, alphabet=name), 0) for name in ALPHABETS},
}


def test_the_prompts_are_those_in_the_golden_file() -> None:
    introduction = GOLDEN.partition("\n")[0]
    cases = [
        f"=== {name}\n{shown(rendered(settings, settings.prompts().texts[row]))}\n"
        for name, (settings, row) in CASES.items()
    ]
    assert "\n".join([f"{introduction}\n", *cases]) == GOLDEN


@PATIENT
@given(conditions(), st.data())
def test_a_rendered_completion_is_parsed_back(settings: ProtocolSettings, data: st.DataObject) -> None:
    alphabet = settings.the_language.alphabet
    symbols = "".join(data.draw(st.lists(st.sampled_from(alphabet), max_size=settings.max_new_symbols)))
    text = " ".join(settings.texts[symbol] for symbol in symbols)
    status = "ok" if symbols else "empty"
    around = data.draw(st.sampled_from(["{}", "```\n{}\n```", "```text\n{}\n```", '"{}"', "`{}`", "\n {} \n\nDone."]))
    answer = around.format(text) if settings.chat and symbols else f" {text}\n" if symbols else "\n"
    assert parse(settings, answer, ended=True) == Parsed(symbols, status)
    assert parse(settings, f" {text}", ended=False).status == "unfinished"


@PATIENT
@given(conditions())
def test_no_context_word_begins_with_the_prompt(settings: ProtocolSettings) -> None:
    for prompt in settings.prompts().texts:
        lines = context_words(settings, prompt)
        assert len(lines) == settings.shots
        assert not [line for line in lines if line.startswith(prompt)]


@PATIENT
@given(conditions())
def test_context_words_keep_and_break_the_rules_in_the_name_of_the_context(settings: ProtocolSettings) -> None:
    prompt = settings.prompts().texts[0]
    lines = context_words(settings.with_changes(shots=12), prompt)
    first, second = settings.the_language.rules[:2]
    kept_rules = {"intact": (True, True), "r1-broken": (False, True), "r2-broken": (True, False)}
    expected = kept_rules.get(settings.context, (False, False))
    assert {*zip(first.holds(lines).tolist(), second.holds(lines).tolist(), strict=True)} == {expected}
    if settings.context == "intact":
        assert settings.the_language.contains(lines).all()


@PATIENT
@given(conditions())
def test_a_context_depends_on_seed_language_and_prompt_alone(settings: ProtocolSettings) -> None:
    plain, changed = (
        settings.with_changes(shots=5),
        settings.with_changes(shots=9, alphabet="words", samples=1, rules_stated=True),
    )
    first, second = (context_words(each, settings.prompts().texts[0]) for each in (plain, changed))
    assert second[:5] == first


def test_each_prompt_has_its_own_context_words() -> None:
    settings = ProtocolSettings("anbn")
    contexts = {tuple(context_words(settings, prompt)) for prompt in settings.prompts().texts}
    assert len(contexts) == 251
    assert context_words(settings, "baaa") != context_words(settings.with_changes(seed=1), "baaa")


# Contexts that are not possible. Only the empty word keeps R2 of tomita1 and breaks R1, and words that are nested
# deeper than 3 are too rare for dyck2d3.
IMPOSSIBLE = {("tomita1", "r1-broken"), ("dyck2d3", "r2-broken")}


@pytest.mark.parametrize("name", list_languages())
def test_every_language_has_every_context(name: str) -> None:
    for context in CONTEXTS:
        settings = ProtocolSettings(name, context=context, limit=1, shots=4)
        prompt = settings.prompts().texts[0]
        if (name, context) in IMPOSSIBLE:
            with pytest.raises(RuleExtrapError, match="too few context lines"):
                context_words(settings, prompt)
        else:
            assert len(context_words(settings, prompt)) == 4


def test_an_impossible_context_is_refused_in_one_line() -> None:
    with pytest.raises(RuleExtrapError, match="begin with the prompt 'a': give longer prompts"):
        context_words(ProtocolSettings("anbn"), "a")


def test_a_plain_text_ends_with_the_prompt_and_no_space() -> None:
    settings = ProtocolSettings("anbn", shots=2)
    text = rendered(settings, "baa")
    assert isinstance(text, str)
    assert text.endswith("\nb a a")
    assert text.count("\n") == 2
    assert rendered(settings.with_changes(shots=0), "baa") == "b a a"


def test_turns_are_prefixes_and_suffixes_of_words_and_end_with_the_prompt() -> None:
    settings = ProtocolSettings("ban", shots=9, chat=True)
    turns = rendered(settings, "aab")
    assert isinstance(turns, tuple)
    assert [turn.role for turn in turns] == ["user", "assistant"] * 9 + ["user"]
    assert turns[-1].content == "a a b"
    assert all(turn.content for turn in turns)
    words = ["".join(turn.content.replace(" ", "") for turn in turns[i : i + 2]) for i in range(0, 18, 2)]
    assert words == context_words(settings, "aab")


@pytest.mark.parametrize(
    ("text", "ended", "expected"),
    [
        (" b b\n a", True, Parsed("bb", "ok")),
        (" b b", True, Parsed("bb", "ok")),
        (" b b", False, Parsed("bb", "unfinished")),
        (" b b\n", False, Parsed("bb", "ok")),
        ("", True, Parsed("", "empty")),
        ("\n b", False, Parsed("", "empty")),
        ("", False, Parsed("", "unfinished")),
        # An answer without a space at its beginning would change the last symbol of the prompt.
        ("b b\n", True, Parsed("", "unparsable")),
        (" bb\n", True, Parsed("", "unparsable")),
        (" b b.\n", True, Parsed("", "unparsable")),
        (" b c\n", True, Parsed("", "unparsable")),
        (" I'm sorry, but I cannot do that.", True, Parsed("", "unparsable")),
        (" B b\n", True, Parsed("", "unparsable")),
        (" b" * 33, True, Parsed("b" * 32, "unfinished")),
        (" b" * 500_000, True, Parsed("b" * 32, "unfinished")),
        (" b\x00\n", True, Parsed("", "unparsable")),
        # Only one space separates symbols, and only a line feed ends the answer.
        (" b  b\n", True, Parsed("", "unparsable")),
        ("  b b\n", True, Parsed("", "unparsable")),
        (" b b \n", True, Parsed("", "unparsable")),
        (" \n", True, Parsed("", "unparsable")),
        (" b\tb\n", True, Parsed("", "unparsable")),
        ("\tb\n", True, Parsed("", "unparsable")),
        (" b b\r\n", True, Parsed("", "unparsable")),
        (" b\u00a0b\n", True, Parsed("", "unparsable")),
        ("\u3000b\n", True, Parsed("", "unparsable")),
        (" b\x0bb", True, Parsed("", "unparsable")),
        (" b\u2028a", True, Parsed("", "unparsable")),
        (" b\x1cb", True, Parsed("", "unparsable")),
        # The limit may fall between a space and the symbol after it.
        (" b b ", False, Parsed("bb", "unfinished")),
        (" ", False, Parsed("", "unfinished")),
        # An answer to a plain text has no reasoning.
        (" <think> b </think> b\n", True, Parsed("", "unparsable")),
    ],
)
def test_answers_to_a_plain_text_are_parsed(text: str, ended: bool, expected: Parsed) -> None:
    assert parse(ProtocolSettings("anbn"), text, ended=ended) == expected


@pytest.mark.parametrize(
    ("text", "ended", "expected"),
    [
        ("b b", True, Parsed("bb", "ok")),
        ("\n\n b b  \n\nThe rest of the word.", False, Parsed("bb", "ok")),
        ("```\nb b\n```", True, Parsed("bb", "ok")),
        ("```b b```", True, Parsed("bb", "ok")),
        ("```text\nb b\n``` That is it.", False, Parsed("bb", "ok")),
        ("'b b'", True, Parsed("bb", "ok")),
        ("\u201cb b\u201d", True, Parsed("bb", "ok")),
        ('"b b', True, Parsed("", "unparsable")),
        ("```\nb b", False, Parsed("bb", "unfinished")),
        ("", True, Parsed("", "empty")),
        ("  \n", True, Parsed("", "empty")),
        ("", False, Parsed("", "unfinished")),
        ("The answer is b b", True, Parsed("", "unparsable")),
        ("bb", True, Parsed("", "unparsable")),
        ("b  b", True, Parsed("", "unparsable")),
        ("b\tb", True, Parsed("", "unparsable")),
        ("b\u00a0b", True, Parsed("", "unparsable")),
        ("b\x0b", True, Parsed("", "unparsable")),
        # The reasoning is not part of the answer.
        ("<think>\na b a\n</think>\n\nb b", True, Parsed("bb", "ok")),
        ("<think></think>b b", True, Parsed("bb", "ok")),
        ("so a and b\n</think>\nb b", True, Parsed("bb", "ok")),
        ("[THINK]hm[/THINK]`b b`", True, Parsed("bb", "ok")),
        ("<thinking>a</thinking>\n<thinking>b</thinking>\n b", True, Parsed("b", "ok")),
        ("<think>\nb b", False, Parsed("", "unfinished: reasoning")),
        ("\n<think>", False, Parsed("", "unfinished: reasoning")),
        ("<think>\nb b", True, Parsed("", "unparsable")),
        ("<think>hm</think>\n", True, Parsed("", "empty")),
        ("<think>hm</think>\n", False, Parsed("", "unfinished")),
        ("<thinker>", False, Parsed("", "unparsable")),
    ],
)
def test_answers_in_a_conversation_are_parsed(text: str, ended: bool, expected: Parsed) -> None:
    assert parse(ProtocolSettings("anbn", chat=True), text, ended=ended) == expected


@PATIENT
@given(conditions(), st.text(), st.booleans())
def test_any_text_is_parsed(settings: ProtocolSettings, text: str, ended: bool) -> None:
    parsed = parse(settings, text, ended=ended)
    assert len(parsed.symbols) <= settings.max_new_symbols
    assert set(parsed.symbols) <= set(settings.the_language.alphabet)
    assert parsed.finished == (parsed.status in ("ok", "empty"))


def test_an_answer_cut_within_a_symbol_is_unfinished() -> None:
    settings = ProtocolSettings("anbn", alphabet="words")
    assert parse(settings, " dog re", ended=False) == Parsed("a", "unfinished")
    assert parse(settings, " dog re", ended=True).status == "unparsable"
    assert parse(settings, " dog cat", ended=False).status == "unparsable"


def test_every_alphabet_has_a_different_text_for_each_symbol() -> None:
    assert len(CONTROL_ALPHABETS) == 5
    for name in ALPHABETS:
        for language in list_languages(tag="paper"):
            texts = ProtocolSettings(language, alphabet=name).texts
            assert len(set(texts.values())) == len(get_language(language).alphabet)


def test_a_symbol_of_two_tokens_is_refused_by_name() -> None:
    def encode(text: str) -> list[int]:
        # A digit and the space before it are two tokens.
        return [0] * sum(2 if piece.isdigit() else 1 for piece in text.split())

    check_single_tokens(["a", "b"], encode)
    with pytest.raises(RuleExtrapError, match="the symbol '1' is 2 tokens"):
        check_single_tokens(["a", "1"], encode)


def test_symbols_that_merge_with_a_line_break_are_named() -> None:
    def encode(text: str) -> list[str]:
        # Brackets merge with the line break after them, as in the tokenizers of several large models.
        return re.findall(r" ?[()]\n?|\n| ?\w", text)

    texts = ["(", ")", "a"]
    check_single_tokens(texts, encode)  # type: ignore[arg-type]  # only their number counts
    assert merged_ends(texts, encode) == ["(", ")"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alphabet": "leters"}, "did you mean 'letters'"),
        ({"context": "shuffled"}, "unknown context 'shuffled'"),
        ({"shots": -1}, "shots is -1: give 0 or more"),
        ({"limit": 0}, "limit is 0: give 1 or more"),
        ({"kind": "odd"}, "unknown kind of prompt"),
        ({"version": 9}, "unknown version of the protocol 9"),
        ({"max_word_length": 1}, "max_length 1 is too small"),
    ],
)
def test_invalid_settings_are_refused_in_one_line(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(RuleExtrapError, match=message):
        ProtocolSettings("anbn", **wrong)  # type: ignore[arg-type]


def test_settings_survive_a_round_trip_through_a_dictionary() -> None:
    settings = ProtocolSettings("dyck", alphabet="words", limit=3, chat=True)
    assert ProtocolSettings(**settings.to_dict()) == settings
    assert settings.max_word_length == 16
    assert settings.prompt_lengths == (8,)


def test_prompts_can_have_several_lengths_and_a_limit() -> None:
    prompts = ProtocolSettings("anbn", prompt_lengths=(3, 4), kind="id").prompts()
    assert sorted(set(prompts.words.lengths.tolist())) == [3, 4]
    limited = ProtocolSettings("anbn", limit=10)
    assert limited.prompts().texts == limited.prompts().texts
    assert len(limited.prompts()) == 10
    assert np.all(limited.prompts().ood)


def test_rules_are_stated_in_the_chosen_alphabet() -> None:
    assert rules_in_words(ProtocolSettings("anbn")) == (
        "The symbols are: a b\nRules of every word: as many a as b; every a before every b."
    )
    rules = rules_in_words(ProtocolSettings("dyck", alphabet="words"))
    assert "dog (for () red (for )) table (for [) seven (for ])" in rules
    assert "[ ] are balanced; ( ) are balanced; ( ) and [ ] are properly nested." in rules
