"""The interpretation of a server's response: ends, limits, faults and reasoning."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_models import Handler, serving

from hf_ruleextrap.completers import Answer, BackendConfig, text_completer
from hf_ruleextrap.completers.http import Failure
from hf_ruleextrap.completers.reading import MEANINGS, REASONS, read_response
from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.text import TextRun


def chat_response(content: Any, reason: Any = "stop", **message: Any) -> dict[str, Any]:
    whole_message = {"role": "assistant", "content": content, **message}
    return {"choices": [{"index": 0, "message": whole_message, "finish_reason": reason}]}


def text_response(text: Any, reason: Any = "stop") -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": reason}]}


def read(response: Any) -> Answer:
    """Return the answer of a response, with a failure as its fault."""
    chat = '"message": {"role"' in json.dumps(response)
    try:
        return read_response(json.dumps(response).encode(), chat=chat)
    except Failure as failure:
        return Answer("", False, failure.fault, failure.detail)


@pytest.mark.parametrize("reason", ["stop", "STOP", "eos_token", "stop_sequence", "end_turn", "eosFound", "COMPLETE"])
def test_known_end_reasons_finish_an_answer(reason: str) -> None:
    assert read(text_response(" b", reason)) == Answer(" b", ended=True)
    assert read(chat_response("b", reason)) == Answer("b", ended=True)


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length", "maxPredictedTokensReached"])
def test_known_limit_reasons_leave_an_answer_unfinished(reason: str) -> None:
    assert read(text_response(" b", reason)) == Answer(" b", ended=False)


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("error", "broken-off"),
        ("abort", "broken-off"),
        ("user_cancel", "broken-off"),
        ("insufficient_system_resource", "broken-off"),
        ("content_filter", "content-filter"),
        ("SAFETY", "content-filter"),
        ("refusal", "content-filter"),
        ("tool_calls", "tool-call"),
        ("function_call", "tool-call"),
        ("repetition", "reason-repetition"),
        ("Some new\x1b[31m reason!", "reason-some_new_31m_reason"),
        ("x" * 1000, "reason-" + "x" * 40),
        ("", "reason-missing"),
        (None, "reason-missing"),
        (7, "reason-not-text"),
        (["stop"], "reason-not-text"),
        ("\u2026", "reason-not-text"),
    ],
)
@pytest.mark.parametrize("text", ["", " b", " b\n"])
def test_every_other_reason_is_a_fault_under_its_own_name(reason: Any, fault: str, text: str) -> None:
    for response in (text_response(text, reason), chat_response(text, reason)):
        answer = read(response)
        assert (answer.fault, answer.ended, answer.text) == (fault, False, "")
        assert answer.detail


def test_each_reason_has_one_meaning() -> None:
    assert len(REASONS) == sum(len(reasons.split()) for reasons in MEANINGS.values())
    assert set(REASONS.values()) == {"ended", "cut", "content-filter", "tool-call", "broken-off"}
    assert all(reason == reason.lower() for reason in REASONS)


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("response", "reasoning_tokens"),
    [
        (chat_response(None, "length", reasoning_content="The user gives letters, so"), 5),
        (chat_response("", "length", reasoning="so", reasoning_details=[{"type": "reasoning.text", "text": "so"}]), 1),
        (chat_response(None, "length"), 0),
        (chat_response([THOUGHT], "length"), 1),
        (chat_response([], "length"), 0),
        (chat_response("", "length", reasoning_details=[{"type": "reasoning.encrypted", "data": "x y"}]), 1),
        ({**chat_response("", "length"), "usage": {"completion_tokens_details": {"reasoning_tokens": 80}}}, 80),
        ({**chat_response("", "max_tokens"), "usage": {"reasoning_tokens": 80}}, 80),
        ({**chat_response("", "length", reasoning="a b"), "usage": {"reasoning_tokens": 80}}, 80),
    ],
)
def test_reasoning_up_to_the_token_limit_is_an_unfinished_answer(response: Any, reasoning_tokens: int) -> None:
    assert read(response) == Answer("", ended=False, thought=True, reasoning_tokens=reasoning_tokens)


@pytest.mark.parametrize(
    ("response", "reasoning_tokens"),
    [
        (chat_response(""), 0),
        (chat_response("", reasoning_content="There is nothing to add."), 5),
        ({**chat_response(""), "usage": {"completion_tokens_details": {"reasoning_tokens": 0}}}, 0),
    ],
)
def test_an_empty_finished_answer_is_an_answer(response: Any, reasoning_tokens: int) -> None:
    assert read(response) == Answer("", ended=True, reasoning_tokens=reasoning_tokens)


def test_a_truncated_answer_is_unfinished() -> None:
    cut = read(chat_response("b b", "length", reasoning_content="so"))
    assert cut == Answer("b b", ended=False, reasoning_tokens=1)
    assert read(chat_response("", "length")) == Answer("", ended=False)


def test_reasoning_without_an_answer_is_a_fault() -> None:
    assert read(chat_response(None, reasoning_content="b b")).fault == "only-reasoning"
    assert read(chat_response([THOUGHT])).fault == "only-reasoning"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"type": "text", "text": "b"}], "b"),
        ([THOUGHT, {"type": "text", "text": "b"}], "b"),
        ([{"type": "text", "text": "b "}, {"type": "output_text", "text": "b"}], "b b"),
        ([{"type": "reasoning", "text": "hm"}, "b"], "b"),
        ([{"type": "refusal", "refusal": "I cannot."}], "I cannot."),
    ],
)
def test_content_in_parts_is_the_text_of_its_text_parts(parts: list[Any], text: str) -> None:
    reasoning_tokens = sum(part in (THOUGHT, {"type": "reasoning", "text": "hm"}) for part in parts)
    assert read(chat_response(parts)) == Answer(text, ended=True, reasoning_tokens=reasoning_tokens)


@pytest.mark.parametrize("part", [{"type": "image_url"}, {"type": "text", "text": None}, {}, 7, None, ["b"]])
def test_a_content_part_that_is_not_text_is_a_fault(part: Any) -> None:
    assert read(chat_response([{"type": "text", "text": "b"}, part])).fault == "no-choice"


def test_a_refusal_in_a_field_of_its_own_is_an_answer() -> None:
    assert read(chat_response(None, refusal="I cannot.")) == Answer("I cannot.", ended=True)


ERROR = {"message": "Provider overloaded", "code": 503}


@pytest.mark.parametrize(
    "response",
    [
        {"error": ERROR},
        {"error": "Provider overloaded"},
        {"object": "error", "message": "Provider overloaded"},
        {"choices": None, "error": ERROR},
        {"choices": [], "error": ERROR},
        {"choices": [{"error": ERROR}]},
        {**text_response(" b"), "error": ERROR},
        {"choices": [{"text": " b", "finish_reason": "stop", "error": {"detail": "Provider overloaded"}}]},
        chat_response("b", error=ERROR),
    ],
)
def test_an_error_keeps_the_message_of_the_server(response: Any) -> None:
    answer = read(response)
    assert answer.fault == "server-error"
    assert "Provider overloaded" in answer.detail


@pytest.mark.parametrize("nothing", [None, "", {}, {"message": None, "code": None}, False])
def test_an_empty_error_field_is_ignored(nothing: Any) -> None:
    assert read({**text_response(" b"), "error": nothing}) == Answer(" b", ended=True)


@pytest.mark.parametrize("response", [[], 7, None, "text", {}, {"detail": "gone"}])
def test_an_invalid_response_is_a_fault_that_quotes_the_response(response: Any) -> None:
    answer = read(response)
    assert answer.fault == "bad-json"
    assert answer.detail == json.dumps(response)


@pytest.mark.parametrize("choices", [None, [], [None], {}, "text"])
def test_a_response_without_a_choice_is_a_fault_that_quotes_the_response(choices: Any) -> None:
    answer = read({"choices": choices, "note": "queue full"})
    assert answer.fault == "no-choice"
    assert "queue full" in answer.detail


WORDS = st.sampled_from(
    ["choices", "message", "content", "text", "finish_reason", "error", "usage", "type", "thinking", "stop", "length"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
CHOICES = st.fixed_dictionaries(
    {}, optional={"message": VALUES, "text": VALUES, "finish_reason": VALUES, "error": VALUES}
)
RESPONSES = VALUES | st.fixed_dictionaries({"choices": st.lists(CHOICES, max_size=2)}, optional={"usage": VALUES})


@hypothesis.settings(deadline=None)
@given(RESPONSES, st.booleans())
def test_any_response_is_an_answer_or_a_failure(response: Any, chat: bool) -> None:
    body = json.dumps(response)
    with suppress(Failure):
        answer = read_response(body.encode(), chat=chat)
        # An answer has ended only if the server says so.
        assert not answer.ended or '"finish_reason": "stop"' in body


@pytest.mark.parametrize("field", ["finish_reason", "error", "text"])
def test_a_response_that_is_nested_deeply_is_a_fault(field: str, tmp_path: Path) -> None:
    nested = "[" * 900 + "]" * 900
    body = '{"choices": [{"text": " b", "finish_reason": "stop", "%s": %s}]}' % (field, nested)  # noqa: UP031
    with serving(lambda handler, _, __: handler.respond(body)) as server:
        statuses = evaluated(server.url, tmp_path).main.greedy.statuses
    assert sum(statuses.values()) == 3
    assert not {"ok", "empty"} & set(statuses)


# In a whole run.


def evaluated(url: str, out: Path, *, chat: bool = False) -> Evaluation:
    settings = ProtocolSettings("anbn", shots=2, limit=3, samples=0, chat=chat)
    completer = text_completer("openai", BackendConfig("m", base_url=url, retries=1, back_off=0.01, concurrency=1))
    return TextRun(completer, "m", settings, controls=False, out=out)()


@pytest.mark.parametrize(("reason", "fault", "sent"), [("error", "broken-off", 6), ("weird", "reason-weird", 3)])
def test_a_broken_off_answer_fails_and_is_requested_again(reason: str, fault: str, sent: int, tmp_path: Path) -> None:
    with serving(lambda handler, body, _: handler.answer(body, "", reason)) as server:
        broken = evaluated(server.url, tmp_path)
        assert len(server.requests) == sent
        assert broken.main.greedy.statuses == {fault: 3}
        assert broken.main.greedy.report.headline.hits == 0
        assert broken.main.unanswered == 3
        server.script = lambda handler, body, _: handler.answer(body)
        assert evaluated(server.url, tmp_path).main.greedy.statuses == {"ok": 3}


def test_an_answer_after_long_reasoning_is_parsed(tmp_path: Path) -> None:
    with serving(lambda handler, body, _: handler.answer(body, f"<think>{'hm ' * 20_000}</think>\nb b")) as server:
        assert evaluated(server.url, tmp_path, chat=True).main.greedy.statuses == {"ok": 3}


def test_reasoning_without_an_answer_is_stored_and_not_requested_again(tmp_path: Path) -> None:
    def thinks(handler: Handler, body: dict[str, Any], number: int) -> None:
        del body, number
        handler.respond(json.dumps(chat_response(None, "length", reasoning="so")))

    with serving(thinks) as server:
        evaluation = evaluated(server.url, tmp_path, chat=True)
        assert evaluated(server.url, tmp_path, chat=True) == evaluation
        assert len(server.requests) == 3
    assert evaluation.main.greedy.statuses == {"unfinished: reasoning": 3}
    assert evaluation.main.unanswered == 0
    record = str(tmp_path / "answers.jsonl")
    again = TextRun(
        text_completer("replay", BackendConfig(record)),
        "m",
        evaluation.main.settings,
        controls=False,
        out=tmp_path / "again",
    )()
    assert again.main.greedy.statuses == evaluation.main.greedy.statuses
