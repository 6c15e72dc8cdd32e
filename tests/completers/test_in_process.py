"""Language models in this process: with transformers, compared with the logits, and with a stand-in for vLLM."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import BackendConfig, Request, Turn, text_completer
from hf_ruleextrap.completers.hf import HfCompleter
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluation
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


# The backend vllm.


@dataclass
class SamplingParams:
    """The parameters that the backend sets, under vLLM's names. Any other parameter is a TypeError, as in vLLM."""

    max_tokens: int
    temperature: float
    seed: int | None = None
    stop_token_ids: list[int] = field(default_factory=list)
    prompt_logprobs: int | None = None
    detokenize: bool = True


class LLM:
    """The class of vLLM for generation in this process."""

    def __init__(self, *, model: str, trust_remote_code: bool, generation_config: str, load_format: str) -> None:
        assert (generation_config, load_format) == ("vllm", "safetensors")
        assert not trust_remote_code
        if not Path(model).is_dir():
            raise ValueError(f"Invalid repository ID or local directory specified: {model!r}\nmore lines")
        self.model = AutoModelForCausalLM.from_pretrained(model)
        limit = self.model.config.max_position_embeddings
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=limit))

    def generate(self, prompts: list[Any], parameters: list[SamplingParams], *, use_tqdm: bool) -> list[Any]:
        assert not use_tqdm
        assert len(prompts) == len(parameters)
        return [self._one(prompt["prompt_token_ids"], each) for prompt, each in zip(prompts, parameters, strict=True)]

    @torch.inference_mode()
    def _one(self, prompt: list[int], parameters: SamplingParams) -> Any:
        ids, generator = list(prompt), torch.Generator()
        generator.manual_seed(parameters.seed or 0)
        reason = "length"
        while len(ids) < len(prompt) + parameters.max_tokens:
            logits = self.model(torch.tensor([ids])).logits[0, -1]
            if parameters.temperature:
                chances = (logits / parameters.temperature).softmax(-1)
                ids.append(int(torch.multinomial(chances, 1, generator=generator)))
            else:
                ids.append(int(logits.argmax()))
            if ids[-1] in parameters.stop_token_ids:
                reason = "stop"
                break
        logs = self.model(torch.tensor([prompt])).logits[0].log_softmax(-1)
        each = [None] + [
            # vLLM adds the likeliest tokens to the token of the prompt.
            {token: SimpleNamespace(logprob=float(logs[place, token])), -1: SimpleNamespace(logprob=0.0)}
            for place, token in enumerate(prompt[1:])
        ]
        completion = SimpleNamespace(token_ids=tuple(ids[len(prompt) :]), finish_reason=reason, text="")
        return SimpleNamespace(
            outputs=[completion], prompt_logprobs=each if parameters.prompt_logprobs is not None else None
        )


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams, module.__version__ = LLM, SamplingParams, "0.99"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)


VLLM_SETTINGS = ProtocolSettings("anbn", shots=6, limit=12, samples=2, max_new_symbols=8)


@pytest.mark.usefixtures("vllm")
def test_greedy_answers_and_log_probabilities_are_those_of_transformers(text_model: Path) -> None:
    hf, vllm = (text_completer(name, BackendConfig(str(text_model), batch_size=5)) for name in ("hf", "vllm"))
    chat = VLLM_SETTINGS.with_changes(chat=True)
    requests = requests_of(VLLM_SETTINGS, VLLM_SETTINGS.prompts()) + requests_of(chat, chat.prompts())
    answers = dict(vllm.answers(requests))
    assert answers == dict(hf.answers(requests))
    assert {answer.ended for answer in answers.values()} == {True, False}
    assert vllm.abilities == hf.abilities
    assert vllm.encode("a b") == hf.encode("a b")
    pairs = [("a a b b\n", "a b\n"), ("a b\n", "b a a b\n"), ("a b\n", "b\n")]
    assert list(vllm.log_probabilities(pairs)) == pytest.approx(list(hf.log_probabilities(pairs)), abs=1e-4)
    assert json.dumps(vllm.identity)
    assert vllm.identity["backend"] == "vllm"
    assert vllm.identity["vllm"] == "0.99"


@pytest.mark.usefixtures("vllm")
def test_draws_depend_on_their_seed_alone(text_model: Path) -> None:
    requests = requests_of(VLLM_SETTINGS, VLLM_SETTINGS.prompts(), samples=2)
    runs = [
        dict(text_completer("vllm", BackendConfig(str(text_model), batch_size=n)).answers(requests)) for n in (1, 7)
    ]
    assert runs[0] == runs[1]
    assert len({answer.text for answer in runs[0].values()}) > 5


@pytest.mark.usefixtures("vllm")
def test_evaluate_and_discriminate_accept_the_backend_vllm(
    text_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--model", str(text_model), "--language", "anbn", "--limit", "4", "--shots", "4"]
    for backend in ("vllm", "hf"):
        words = ["evaluate", *few, "--samples", "0", "--backend", backend, "--out", str(tmp_path / backend)]
        assert main(words) == 0
    ours, theirs = (Evaluation.read(tmp_path / name) for name in ("hf", "vllm"))
    assert ours.main.greedy == theirs.main.greedy
    assert main(["discriminate", *few, "--backend", "vllm"]) == 0
    assert main(["evaluate", *few, "--backend", "vllm", "--concurrency", "2"]) == 2
    assert "--concurrency does not apply to the backend vllm" in capsys.readouterr().err


@pytest.mark.usefixtures("vllm")
def test_requests_that_vllm_cannot_serve_are_refused_in_one_line(text_model: Path) -> None:
    with pytest.raises(RuleExtrapError, match="no checkpoint can be loaded from 'none'") as refusal:
        text_completer("vllm", BackendConfig("none"))
    assert "\n" not in str(refusal.value)
    completer = text_completer("vllm", BackendConfig(str(text_model)))
    request = Request((Turn("user", "a " * 1010 + "a"),), 30, 0.0, 0, 0, None)
    with pytest.raises(RuleExtrapError, match="and vLLM allows 1024 for this model: give fewer context words"):
        list(completer.answers([request]))


def test_without_vllm_the_extra_is_named(text_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(RuleExtrapError, match=r"vLLM cannot be imported .*: pip install 'hf-ruleextrap\[vllm\]'"):
        text_completer("vllm", BackendConfig(str(text_model)))


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("has_config", [True, False])
def test_the_end_tokens_of_a_checkpoint_are_those_of_transformers(
    text_model: Path, tmp_path: Path, has_config: bool
) -> None:
    import shutil

    model = tmp_path / "model"
    shutil.copytree(text_model, model)
    (model / "generation_config.json").unlink(missing_ok=True)
    if has_config:
        GenerationConfig(eos_token_id=[0, 1]).save_pretrained(model)
    hf, vllm = (text_completer(name, BackendConfig(str(model))) for name in ("hf", "vllm"))
    assert vllm.end_ids == hf.end_ids  # type: ignore[attr-defined]
    assert np.array_equal(sorted(vllm.end_ids), [0, 1] if has_config else [1])  # type: ignore[attr-defined]
