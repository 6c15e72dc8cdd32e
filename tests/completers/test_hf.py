"""Any causal model in this process, compared with its own logits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_ruleextrap.completers import BackendConfig, Request, Turn, text_completer
from hf_ruleextrap.completers.hf import HfCompleter
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.text import TextRun, requests_of

SETTINGS = ProtocolSettings("anbn", shots=6, limit=12, samples=3)


def completer_of(model: Path, **settings: int) -> HfCompleter:
    completer = text_completer("hf", BackendConfig(str(model), **settings))  # type: ignore[arg-type]
    assert isinstance(completer, HfCompleter)
    return completer


def test_answers_do_not_depend_on_the_batch_size(text_model: Path) -> None:
    prompts = SETTINGS.prompts()
    requests = requests_of(SETTINGS, prompts) + requests_of(SETTINGS, prompts, samples=3)
    together, alone = (dict(completer_of(text_model, batch_size=size).answers(requests)) for size in (64, 1))
    assert together == alone
    assert sorted(together) == list(range(len(requests)))
    assert len({answer.text for answer in together.values()}) > 5
    assert list(completer_of(text_model).answers([])) == []


def test_greedy_takes_the_likeliest_token_until_a_line_break(text_model: Path) -> None:
    completer = completer_of(text_model)
    requests = requests_of(SETTINGS, SETTINGS.prompts())
    answers = dict(completer.answers(requests))
    for place in (0, 5):
        ids = completer.tokenizer.encode(requests[place].prompt)
        before = len(ids)
        for _ in range(requests[place].max_new_tokens):
            with torch.inference_mode():
                ids.append(int(completer.model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in (completer.tokenizer.eos_token_id, completer.tokenizer.convert_tokens_to_ids("\n")):
                break
        assert answers[place].text == completer.tokenizer.decode(ids[before:], skip_special_tokens=True)


def test_draws_follow_the_model_s_own_distribution(text_model: Path) -> None:
    completer = completer_of(text_model)
    text, n = "a a b b\na a a", 2000
    requests = [Request(text, 1, 1.0, i, 7, None) for i in range(1, n + 1)]
    drawn = [answer.text for _, answer in completer.answers(requests)]
    with torch.inference_mode():
        logits = completer.model(torch.tensor([completer.tokenizer.encode(text)])).logits[0, -1]
    expected = logits.softmax(-1)
    for token in (" a", " b"):
        p = float(expected[completer.tokenizer.convert_tokens_to_ids(token)])
        assert drawn.count(token) / n == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5 + 1e-3)


def test_generation_settings_do_not_change_answers(text_model: Path) -> None:
    plain, changed = completer_of(text_model), completer_of(text_model)
    settings = changed.model.generation_config
    settings.repetition_penalty, settings.do_sample, settings.temperature, settings.top_k = 5.0, True, 0.1, 1
    requests = requests_of(SETTINGS, SETTINGS.prompts(), samples=2)
    assert dict(plain.answers(requests)) == dict(changed.answers(requests))


def test_log_probabilities_are_those_of_the_logits(text_model: Path) -> None:
    completer = completer_of(text_model)
    pairs = [("a a b b\na a", " b b\n"), ("a b\na", " b\n"), ("a b\na", " a"), ("a b\na a a", " b")]
    log_probabilities = completer.log_probabilities(pairs)
    for (before, after), value in zip(pairs, log_probabilities, strict=True):
        first, whole = completer.tokenizer.encode(before), completer.tokenizer.encode(before + after)
        with torch.inference_mode():
            each = completer.model(torch.tensor([whole])).logits[0].log_softmax(-1)
        expected = sum(float(each[i - 1, whole[i]]) for i in range(len(first), len(whole)))
        assert value == pytest.approx(expected, abs=1e-4)
    # The probabilities of all tokens that may follow add up to 1.
    tokens = completer.tokenizer.convert_ids_to_tokens(range(len(completer.tokenizer)))
    known = [("a b\na", token) for token in tokens if not token.startswith("<")]
    assert 0.9 < np.exp(completer.log_probabilities(known)).sum() <= 1.0001


def test_a_conversation_goes_through_the_chat_template(text_model: Path) -> None:
    completer = completer_of(text_model)
    turns = (Turn("user", "a a"), Turn("assistant", "b b"), Turn("user", "a"))
    plain = Request("a a\nb b\na\n", 5, 0.0, 0, 0, None)
    assert list(completer.answers([Request(turns, 5, 0.0, 0, 0, None)])) == list(completer.answers([plain]))


def test_a_rewritten_weights_file_changes_the_identity(text_model: Path, tmp_path: Path) -> None:
    copied = tmp_path / "model"
    shutil.copytree(text_model, copied)
    before = completer_of(copied).identity
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert completer_of(copied).identity != before


def test_a_symbol_of_several_tokens_is_refused_in_one_line(text_model: Path, tmp_path: Path) -> None:
    def characters(text: str) -> list[int]:
        return [ord(letter) for letter in text if letter != " "]

    run = TextRun(completer_of(text_model), "m", SETTINGS, controls=True, out=tmp_path, encode=characters)
    # A control that a tokenizer does not allow is left out, and the result gives the reason.
    assert "the symbol 'dog' is 3 tokens" in run.skipped["alphabet words"]
    assert "alphabet swapped" in run.conditions
    words = SETTINGS.with_changes(alphabet="words")
    with pytest.raises(RuleExtrapError, match=r"the symbol 'dog' is 3 tokens.*give another --alphabet"):
        TextRun(completer_of(text_model), "m", words, controls=False, out=tmp_path, encode=characters)


def test_chat_is_refused_for_a_model_without_a_chat_template(text_model: Path, tmp_path: Path) -> None:
    shutil.copytree(text_model, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").unlink()
    with pytest.raises(RuleExtrapError, match="leave out --chat"):
        TextRun(completer_of(tmp_path / "model"), "m", SETTINGS.with_changes(chat=True), controls=False, out=tmp_path)


def test_a_missing_checkpoint_is_refused_in_one_line() -> None:
    with pytest.raises(RuleExtrapError, match="no checkpoint can be loaded from 'nowhere/at-all'"):
        text_completer("hf", BackendConfig("nowhere/at-all"))


@pytest.mark.parametrize("opened", [False, True])
def test_reasoning_of_a_model_in_this_process_is_parsed_as_that_of_a_server(
    opened: bool, text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test decides what the model writes. The chat template opens the reasoning, or the model does."""
    tokenizer = AutoTokenizer.from_pretrained(text_model)
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template += "{% if add_generation_prompt %}<think>\n{% endif %}" if opened else ""
    model = AutoModelForCausalLM.from_pretrained(text_model)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    thoughts = tokenizer.encode("a" + " b" * 20)
    begin, end = tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    answer = tokenizer.encode("b b")

    def writes(model: object, inputs: torch.Tensor, *, max_new_tokens: int, **_: object) -> torch.Tensor:
        del model
        row = [*([] if opened else [begin]), *thoughts, end, *answer, tokenizer.eos_token_id]
        return torch.tensor([row[:max_new_tokens]] * len(inputs))

    monkeypatch.setattr("hf_ruleextrap.completers.hf.generate", writes)
    settings = ProtocolSettings("anbn", shots=2, limit=3, samples=0, chat=True, max_new_symbols=2)
    assert settings.max_new_tokens == 20
    for more, status in ((0, "unfinished: reasoning"), (30, "ok")):
        condition = settings.with_changes(max_reasoning_tokens=more)
        out = tmp_path / str(more)
        greedy = TextRun(completer_of(tmp_path), "m", condition, controls=False, out=out)().main.greedy
        assert greedy.statuses == {status: 3}
        # The marks of the reasoning do not count, but the line break that the template writes does.
        assert greedy.reasoning_tokens == 3 * (len(thoughts) + opened if more else 19 + 2 * opened)
