"""The parameters that common servers refuse, and the formats of their responses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from language_models import Handler, serving, well

from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import BackendConfig, Request, text_completer
from hf_ruleextrap.completers.reading import refused_parameter
from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.table import controls_table, rates_table
from hf_ruleextrap.evaluation.text import TextRun

SENT = ("max_tokens", "temperature", "top_p", "n", "seed", "stream", "stop")


def evaluated(url: str, out: Path, *, chat: bool = False, **settings: Any) -> Evaluation:
    condition = ProtocolSettings("anbn", **{"shots": 2, "limit": 5, "samples": 0, "chat": chat, **settings})
    completer = text_completer("openai", BackendConfig("m", base_url=url, retries=0, back_off=0.01))
    return TextRun(completer, "m", condition, controls=False, out=out)()


def error(message: str, status: int = 400, **fields: Any) -> tuple[str, int]:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", **fields}}), status


def openai_unsupported(name: str, value: Any) -> tuple[str, int] | None:
    if name == "max_tokens":
        advice = "Use 'max_completion_tokens' instead."
        message = f"Unsupported parameter: 'max_tokens' is not supported with this model. {advice}"
        return error(message, param="max_tokens", code="unsupported_parameter")
    if name == "temperature" and value != 1:
        message = f"Unsupported value: 'temperature' does not support {value} with this model. Only the default (1)"
        return error(f"{message} value is supported.", param="temperature", code="unsupported_value")
    if name == "stop":
        message = "Unsupported parameter: 'stop' is not supported with this model."
        return error(message, param="stop", code="unsupported_parameter")
    return None


def forbids_extra(name: str, value: Any) -> tuple[str, int] | None:
    """Return the error of a server that is built with FastAPI and pydantic."""
    if name not in ("seed", "n"):
        return None
    detail = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": value}
    return json.dumps({"detail": [detail]}), 422


def tgi(name: str, value: Any) -> tuple[str, int] | None:
    if name == "top_p" and value >= 1:
        message = "Input validation error: `top_p` must be > 0.0 and < 1.0"
        return json.dumps({"error": message, "error_type": "validation"}), 422
    return None


def behind_openrouter(name: str, value: Any) -> tuple[str, int] | None:
    """Return the error of another server, in the body of a response with status 200."""
    inner = openai_unsupported(name, value)
    if inner is None:
        return None
    return error("Provider returned error", 200, code=400, metadata={"raw": inner[0], "provider_name": "P"})


def in_prose(*names: str) -> Callable[[str, Any], tuple[str, int] | None]:
    """Return the errors of a server that names the refused parameter in a sentence."""
    forms = {
        "seed": "property 'seed' is unsupported",
        "n": "UnsupportedParamsError: the model does not support parameters: {'n': 1}",
        "stop": "Argument not supported on this model: stop",
        "temperature": "Unrecognized request argument supplied: temperature",
        "max_tokens": 'Invalid JSON payload received. Unknown name "max_tokens": Cannot find field.',
        "max_completion_tokens": "max_completion_tokens is not supported",
    }
    return lambda name, _: error(forms[name]) if name in names else None


# For each name: the server, whether the requests are conversations, and the refused parameters in the results.
REFUSALS: dict[str, tuple[Callable[[str, Any], tuple[str, int] | None], bool, dict[str, str | None]]] = {
    "OpenAI": (openai_unsupported, True, {"max_tokens": "max_completion_tokens", "temperature": None}),
    "OpenRouter": (behind_openrouter, True, {"max_tokens": "max_completion_tokens", "temperature": None}),
    "OpenAI, texts": (
        openai_unsupported,
        False,
        {"max_tokens": "max_completion_tokens", "temperature": None, "stop": None},
    ),
    "FastAPI": (forbids_extra, True, {"seed": None, "n": None}),
    "TGI": (tgi, False, {"top_p": None}),
    "seed and n": (in_prose("seed", "n"), True, {"seed": None, "n": None}),
    "stop": (in_prose("stop"), False, {"stop": None}),
    "no limit at all": (in_prose("max_tokens", "max_completion_tokens"), False, {"max_tokens": None}),
    "temperature": (in_prose("temperature"), False, {"temperature": None}),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_parameter_is_left_out_once_for_the_run(name: str, tmp_path: Path) -> None:
    refuses, chat, refused = REFUSALS[name]

    def script(handler: Handler, body: dict[str, Any], number: int) -> None:
        time.sleep(0.01)
        for parameter, value in body.items():
            if refusal := refuses(parameter, value):
                handler.respond(*refusal)
                return
        well(handler, {"temperature": 0, "seed": 0, **body}, number)

    with serving(script) as server:
        evaluation = evaluated(server.url, tmp_path, chat=chat, samples=1)
        # Both names of the limit are refused once.
        refusals = len(refused) + (name == "no limit at all")
        assert len(server.requests) == 10 + refusals
        last = json.loads(server.requests[-1])
        # The second run reads its answers from the disk, and has the same results.
        assert evaluated(server.url, tmp_path, chat=chat, samples=1) == evaluation
        assert len(server.requests) == 10 + refusals
    outcomes = [evaluation.main.greedy, evaluation.main.drawn]
    assert [outcome.refused for outcome in outcomes if outcome] == [refused, refused]
    assert sum(outcomes[0].statuses[status] for status in ("ok", "empty") if status in outcomes[0].statuses) == 5  # type: ignore[union-attr]
    assert not set(refused) & set(last)
    assert {new for new in refused.values() if new} <= set(last)
    # A row is marked if its answers are not known to be greedy.
    is_refused = "temperature" in refused
    assert rates_table(evaluation)[1][0][0].endswith(", not greedy") == is_refused
    assert controls_table(evaluation)[1][0][0].endswith(", not greedy") == is_refused
    assert any("column greedy are drawn" in note for note in evaluation.main.notes) == is_refused
    assert any(note.startswith("the server refused the parameters ") for note in evaluation.main.notes)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("Unknown parameter 'seed'. Supported parameters: 'max_tokens', 'temperature', 'stop'", "seed"),
        ("The parameters are 'temperature', 'top_p' and 'n', but I got an unexpected 'seed'", "seed"),
        ("temperature: Extra inputs are not permitted", "temperature"),
        ("1 validation error for Request\nseed\n  Extra inputs are not permitted [type=extra_forbidden]", "seed"),
        ("Additional properties are not allowed ('n' was unexpected)", "n"),
        ("invalid temperature: only 1 is allowed for this model", "temperature"),
        ("`temperature` and `top_p` cannot both be specified for this model.", "top_p"),
        ("`temperature` is deprecated for this model.", "temperature"),
        ("create() got an unexpected keyword argument 'stop'", "stop"),
        ("This model does not support max_tokens, use max_completion_tokens", "max_tokens"),
        ('[{"type": "extra_forbidden", "loc": ["body", "n"], "input": {"seed": 0, "temperature": 0.0}}]', "n"),
    ],
)
def test_the_refused_parameter_is_identified_in_the_error_message(message: str, name: str) -> None:
    assert refused_parameter(json.dumps({"error": {"message": message}}), SENT) == name
    assert refused_parameter(json.dumps({"error": {"raw": json.dumps({"error": message})}}), SENT) == name


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens.",
        "'max_tokens' is too large: 33. This model's maximum context length is 32 tokens.",
        "Invalid 'max_tokens': must be less than or equal to 16",
        "Unsupported value: 'max_tokens' does not support 33 with this model.",
        "the prompt has an unsupported character",
        "unknown model 'm'",
        "Range of max_tokens should be [1, 32]",
        "",
    ],
)
def test_other_error_messages_refuse_no_parameter(message: str, tmp_path: Path) -> None:
    assert refused_parameter(json.dumps({"error": {"message": message}}), SENT) is None
    with serving(lambda handler, _, __: handler.respond(*error(message))) as server:
        evaluation = evaluated(server.url, tmp_path)
        assert len(server.requests) == 5
    assert evaluation.main.greedy.statuses == {"http-400": 5}


def test_a_parameter_that_makes_no_difference_is_not_refused() -> None:
    """Every message of the server contains the whole request."""

    def script(handler: Handler, body: dict[str, Any], number: int) -> None:
        if number > 7:
            well(handler, body, number)
        else:
            handler.respond(*error(f"invalid request: {body}"))

    with serving(script) as server:
        requests = [Request("a", 9, 0.0, 0, 0, "\n")] * 2
        config = BackendConfig("m", base_url=server.url, retries=0, concurrency=1)
        answers = [answer for _, answer in text_completer("openai", config).answers(requests)]
        first, second = map(json.loads, (server.requests[0], server.requests[-1]))
    assert answers[0].fault == "http-400"
    assert (answers[1].fault, answers[1].refused) == ("", {})
    assert first == second


# The formats of responses.


def chat_answer(reason: str = "stop", usage: dict[str, Any] | None = None, **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage or {}}


HIDDEN = {"completion_tokens": 90, "completion_tokens_details": {"reasoning_tokens": 85}}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "there are two"}], "closed": True}

# For each name: the response, the status, and the number of tokens of reasoning.
ANSWERS: dict[str, tuple[dict[str, Any], str, int]] = {
    "OpenAI, hidden": (chat_answer(content="b", refusal=None, annotations=[], usage=HIDDEN), "ok", 85),
    "OpenAI, used up": (chat_answer("length", content="", usage=HIDDEN), "unfinished: reasoning", 85),
    "OpenAI, filtered": (chat_answer("content_filter", content=""), "content-filter", 0),
    "vLLM": (chat_answer(content="\n\nb", reasoning_content="there are two"), "ok", 3),
    "vLLM, used up": (chat_answer("length", content=None, reasoning="there are"), "unfinished: reasoning", 2),
    "vLLM, no parser": (chat_answer(content="<think>\nthere are two\n</think>\n\nb"), "ok", 3),
    "vLLM, no parser, used up": (chat_answer("length", content="<think>\nthere are"), "unfinished: reasoning", 2),
    "vLLM, opened by the template": (chat_answer(content="there are two</think>b"), "ok", 3),
    "vLLM, abort": (chat_answer("abort", content="b"), "broken-off", 0),
    "SGLang": (chat_answer(content="b", reasoning_content=None, usage={"reasoning_tokens": 7}), "ok", 7),
    "llama.cpp": (chat_answer(reasoning_content="there are two", content="b"), "ok", 3),
    "llama.cpp, cut": (chat_answer("length", reasoning_content="so", content="b b"), "unfinished", 1),
    "Ollama": (chat_answer(content="b", reasoning="there are two"), "ok", 3),
    "Ollama, load": (chat_answer("load", content=""), "broken-off", 0),
    "OpenRouter": (
        chat_answer(content="b", reasoning="so", reasoning_details=[{"type": "reasoning.text", "text": "so"}]),
        "ok",
        1,
    ),
    "OpenRouter, error": ({"error": {"code": 502, "message": "Provider disconnected"}}, "server-error", 0),
    "OpenRouter, late": ({"choices": [{"finish_reason": "error", "error": {"code": 502}}]}, "server-error", 0),
    "Mistral": (chat_answer(content=[THOUGHT, {"type": "text", "text": "b"}]), "ok", 3),
    "Mistral, used up": (chat_answer("length", content=[THOUGHT]), "unfinished: reasoning", 3),
    "Mistral, limit": (chat_answer("model_length", content="b b"), "unfinished", 0),
    "TGI": (chat_answer("eos_token", content="b"), "ok", 0),
    "TGI, cut": (chat_answer("length", content="b"), "unfinished", 0),
    "Gemini": (chat_answer("MAX_TOKENS", content=None), "unfinished: reasoning", 0),
    "harmony": (
        chat_answer(content="<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final<|message|>b"),
        "ok",
        1,
    ),
    "prose": (chat_answer(content="The answer is b"), "unparsable", 0),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_response_format_has_its_status_and_its_number_of_reasoning_tokens(name: str, tmp_path: Path) -> None:
    response, status, reasoning_tokens = ANSWERS[name]
    with serving(lambda handler, _, __: handler.respond(json.dumps(response))) as server:
        evaluation = evaluated(server.url, tmp_path, chat=True, limit=2)
    greedy = evaluation.main.greedy
    assert greedy.statuses == {status: 2}
    assert greedy.reasoning_tokens == 2 * reasoning_tokens
    assert any("--max-reasoning-tokens" in note for note in evaluation.main.notes) == (status.endswith("reasoning"))
    # A replay of the run's record has the same outcome.
    replay = text_completer("replay", BackendConfig(str(tmp_path / "answers.jsonl")))
    again = TextRun(replay, "m", evaluation.main.settings, controls=False, out=tmp_path / "again")()  # type: ignore[arg-type]
    assert again.main.greedy == greedy


def test_max_reasoning_tokens_extends_the_token_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def script(handler: Handler, body: dict[str, Any], number: int) -> None:
        del number
        enough = body["max_tokens"] >= 300
        content = {"content": "b", "reasoning_content": "x " * 250} if enough else {"content": None}
        handler.respond(json.dumps(chat_answer("stop" if enough else "length", **content)))

    with serving(script) as server:
        for tokens, status in ((0, "unfinished: reasoning"), (250, "ok")):
            out = tmp_path / str(tokens)
            words = ["evaluate", "--model", "m", "--base-url", server.url, "--chat", "--language", "anbn"]
            words += ["--limit", "2", "--shots", "2", "--samples", "0", "--out", str(out)]
            assert main([*words, "--max-reasoning-tokens", str(tokens)]) == 0
            assert Evaluation.read(out).main.greedy.statuses == {status: 2}
    assert "reasoned with 500 tokens" in capsys.readouterr().out
    assert main([word for word in words if word != "--chat"] + ["--max-reasoning-tokens", "9"]) == 2
    assert "max_reasoning_tokens is for conversations: give --chat" in capsys.readouterr().err
