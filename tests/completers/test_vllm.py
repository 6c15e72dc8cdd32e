"""``--backend vllm``, with a stand-in that has the API of vLLM and computes with transformers."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import BackendConfig, Request, Turn, text_completer
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.text import requests_of


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
    """vLLM's class for generation in this process."""

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


SETTINGS = ProtocolSettings("anbn", shots=6, limit=12, samples=2, max_new_symbols=8)


@pytest.mark.usefixtures("vllm")
def test_greedy_answers_and_log_probabilities_are_those_of_transformers(text_model: Path) -> None:
    hf, vllm = (text_completer(name, BackendConfig(str(text_model), batch_size=5)) for name in ("hf", "vllm"))
    chat = SETTINGS.with_changes(chat=True)
    requests = requests_of(SETTINGS, SETTINGS.prompts()) + requests_of(chat, chat.prompts())
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
    requests = requests_of(SETTINGS, SETTINGS.prompts(), samples=2)
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
