"""The log-probabilities of a server that repeats a prompt with the log-probability of each token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llm_server import Handler, Script, serving

from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import BackendConfig, text_completer
from hf_ruleextrap.completers.hf import HfCompleter
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.discrimination import discriminate_text
from hf_ruleextrap.evaluation.protocol import ProtocolSettings

ANBN = ProtocolSettings("anbn", shots=4)
PAIRS = [("a a b b\n", "a b\n"), ("a a b b\n", "a a\n"), ("a b\n", "b a a b\n")]


def behind_a_server(model: Path, front: str = "") -> Script:
    """Return a server that computes with a model and adds a token before and after the prompt, as vLLM does."""
    local = text_completer("hf", BackendConfig(str(model)))
    assert isinstance(local, HfCompleter)

    def script(handler: Handler, body: dict[str, Any], number: int) -> None:
        del number
        assert body["echo"]
        assert body["logprobs"] == 1
        ids = torch.tensor([local.texts.of(body["prompt"])])
        with torch.inference_mode():
            logs = local.model(ids).logits[0].log_softmax(-1)
        values = [None, *logs[:-1].gather(-1, ids[0, 1:, None])[:, 0].tolist()]
        tokens = [local.tokenizer.decode([token]) for token in ids[0]]
        new, value = " b", -0.5
        tokens, values = [*([front] if front else []), *tokens, new], [*([None] if front else []), *values, value]
        logprobs = {"tokens": tokens, "token_logprobs": values, "top_logprobs": None, "text_offset": [0] * len(tokens)}
        choice = {"text": body["prompt"] + new, "logprobs": logprobs, "finish_reason": "length", "index": 0}
        handler.respond(json.dumps({"choices": [choice]}))

    return script


@pytest.mark.parametrize("front", ["", "<|begin_of_text|>"])
def test_discrimination_is_equal_in_process_and_behind_a_server(text_model: Path, front: str) -> None:
    here = discriminate_text(text_completer("hf", BackendConfig(str(text_model))), "m", ANBN, limit=8)
    with serving(behind_a_server(text_model, front)) as server:
        there = discriminate_text(text_completer("openai", BackendConfig("m", base_url=server.url)), "m", ANBN, limit=8)
        assert len(server.requests) == 2 * sum(len(rule.pairs) for rule in here.rules)
    for one, other in zip(here.rules, there.rules, strict=True):
        assert (one.accuracy, one.verdict, one.references) == (other.accuracy, other.verdict, other.references)
        logs = np.array([[(pair.log_word, pair.log_broken) for pair in rule.pairs] for rule in (one, other)])
        assert np.abs(logs[0] - logs[1]).max() < 1e-4
    assert any(rule.accuracy and 0 < rule.accuracy.rate < 1 for rule in here.rules)


def test_the_discriminate_command_accepts_a_server(text_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--language", "anbn", "--limit", "4", "--shots", "4", "--json"]
    with serving(behind_a_server(text_model)) as server:
        flags = ["--base-url", server.url, "--tokenizer", str(text_model), "--concurrency", "2"]
        assert main(["discriminate", "--model", "m", *few, *flags]) == 0
    there = json.loads(capsys.readouterr().out)
    assert main(["discriminate", "--model", str(text_model), *few]) == 0
    here = json.loads(capsys.readouterr().out)
    assert [rule["accuracy"] for rule in here["rules"]] == [rule["accuracy"] for rule in there["rules"]]
    assert main(["discriminate", "--model", "m", *few, "--tokenizer", str(text_model), "--backend", "hf"]) == 2
    assert "--tokenizer does not apply to the backend hf" in capsys.readouterr().err


def test_a_refused_parameter_is_left_out_for_all_pairs(text_model: Path) -> None:
    answers = behind_a_server(text_model)

    def script(handler: Handler, body: dict[str, Any], number: int) -> None:
        if "seed" in body:
            handler.respond(json.dumps({"error": {"message": "Unknown parameter: 'seed'.", "param": "seed"}}), 400)
        else:
            answers(handler, body, number)

    with serving(script) as server:
        logs = text_completer("openai", BackendConfig("m", base_url=server.url)).log_probabilities(PAIRS)
        assert len(server.requests) == len(PAIRS) + 1
    here = text_completer("hf", BackendConfig(str(text_model))).log_probabilities(PAIRS)
    assert list(logs) == pytest.approx(list(here), abs=1e-4)


def responding(choice: Any, status: int = 200) -> Script:
    return lambda handler, _, __: handler.respond(json.dumps({"choices": [choice]}), status)


def with_logprobs(tokens: Any, values: Any) -> Script:
    return responding({"text": "", "finish_reason": "length", "logprobs": {"tokens": tokens, "token_logprobs": values}})


def error(message: str, status: int) -> Script:
    return lambda handler, _, __: handler.respond(json.dumps({"error": {"message": message, "code": status}}), status)


TOKENS = ["a", " a", " b", " b", "\n", "a", " b", "\n"]
# For each name: the server, and the message of the error.
WITHOUT = {
    "llama.cpp": (error("Only no echo is supported", 400), "http-400: .*Only no echo is supported"),
    "OpenAI's chat models": (error("This is a chat model and not supported in v1/completions", 404), "http-404"),
    "echo is ignored": (responding({"text": " b", "finish_reason": "length"}), "no token_logprobs"),
    "logprobs are null": (responding({"text": " b", "finish_reason": "length", "logprobs": None}), "no token_logprobs"),
    "only the new token": (with_logprobs([" b"], [-0.1]), "do not spell the prompt"),
    "no values": (with_logprobs(TOKENS, [None] * 8), "the log-probabilities in the response are \\[None"),
    "probabilities": (with_logprobs(TOKENS, [None, *[0.5] * 7]), "the log-probabilities in the response are \\[0.5"),
    "not numbers": (with_logprobs(TOKENS, [None, *["-1"] * 7]), "in the response are \\['-1'"),
    "no number": (with_logprobs(TOKENS, [None, *[float("nan")] * 7]), "in the response are \\[nan"),
    "a token too few": (with_logprobs(TOKENS, [None, *[-1.0] * 6]), "no token_logprobs"),
    "merged": (with_logprobs(["a a b b", "\na", " b\n"], [None, -1.0, -1.0]), "a token holds the end of"),
    "no choice": (lambda handler, _, __: handler.respond('{"choices": []}'), "no token_logprobs"),
    "an error": (lambda handler, _, __: handler.respond('{"error": "no logprobs"}'), "server-error: no logprobs"),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_server_without_log_probabilities_is_refused_in_one_line(name: str) -> None:
    script, message = WITHOUT[name]
    with serving(script) as server:
        config = BackendConfig("m", base_url=server.url, retries=0, concurrency=1)
        completer = text_completer("openai", config)
        with pytest.raises(RuleExtrapError, match=message) as refusal:
            completer.log_probabilities(PAIRS[:1] * 20)
        # No further request is sent.
        assert len(server.requests) <= 2
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(f"{server.url} gives no log-probabilities of a prompt (")


def test_a_key_in_a_response_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret-that-nobody-may-see")
    with serving(error("wrong key sk-a-secret-that-nobody-may-see", 401)) as server:
        completer = text_completer("openai", BackendConfig("m", base_url=server.url))
        with pytest.raises(RuleExtrapError, match=r"http-401.*give the same command again") as refusal:
            completer.log_probabilities(PAIRS)
    assert "nobody" not in str(refusal.value)
