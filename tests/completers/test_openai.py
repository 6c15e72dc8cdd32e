"""Faults of a server, their statuses in a run, and the requests that are sent again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from language_models import Handler, Script, Server, answer_to, serving, well

from hf_ruleextrap.completers import Answer, BackendConfig, Request, Turn, text_completer
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.text import TextRun

KEY = "sk-a-secret-that-nobody-may-see-1234567890"


def evaluated(
    url: str, out: Path, *, limit: int = 3, samples: int = 0, chat: bool = False, **backend_settings: Any
) -> Evaluation:
    settings = ProtocolSettings("anbn", shots=2, limit=limit, samples=samples, chat=chat)
    backend_settings = {"retries": 1, "back_off": 0.01, "timeout": 5.0, "concurrency": 1, **backend_settings}
    completer = text_completer("openai", BackendConfig("m", base_url=url, **backend_settings))
    return TextRun(completer, "m", settings, controls=False, out=out)()


def once(fault: Script) -> Script:
    """Return a script that fails at the first request and answers all others."""

    def script(handler: Handler, body: dict[str, Any], number: int) -> None:
        (fault if number == 1 else well)(handler, body, number)

    return script


def status(code: int, **headers: str) -> Script:
    return lambda handler, _, __: handler.respond("no", code, **headers)


def answering(text: str, reason: str = "stop") -> Script:
    return lambda handler, body, _: handler.answer(body, text, reason)


def hangs(handler: Handler, body: dict[str, Any], number: int) -> None:
    del body, number
    time.sleep(1.0)
    handler.close_connection = True


def drips(handler: Handler, body: dict[str, Any], number: int) -> None:
    """Send bytes without a long pause, and never the whole response."""
    del body, number
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


# For each name: the server, the statuses of three requests, and the number of requests that the server receives.
FAULTS: dict[str, tuple[Script, dict[str, int], int]] = {
    "no fault": (well, {"ok": 3}, 3),
    "401": (status(401), {"http-401": 1, "not-sent": 2}, 1),
    "404": (status(404), {"http-404": 1, "not-sent": 2}, 1),
    "400": (status(400), {"http-400": 3}, 3),
    "429 once": (once(status(429, Retry_After="0.4")), {"ok": 3}, 4),
    "500 once": (once(status(500)), {"ok": 3}, 4),
    "500 always": (status(500), {"http-500": 3}, 6),
    "hung once": (once(hangs), {"ok": 3}, 4),
    "hung always": (hangs, {"timeout": 3}, 6),
    "drips": (drips, {"timeout": 3}, 6),
    "truncated JSON": (lambda h, _, __: h.respond('{"choices": [{"text": " b'), {"bad-json": 3}, 6),
    "cut connection": (lambda h, _, __: h.respond('{"choices": [', length=500), {"bad-json": 3}, 6),
    "not JSON at all": (lambda h, _, __: h.respond(b"\xff\x00<html>"), {"bad-json": 3}, 6),
    "no choices": (lambda h, _, __: h.respond('{"choices": []}'), {"no-choice": 3}, 6),
    "a choice without text": (lambda h, _, __: h.respond('{"choices": [{"text": null}]}'), {"no-choice": 3}, 6),
    "a refusal in prose": (answering(" I'm sorry, but I can't help with that."), {"unparsable": 3}, 3),
    "1 MB of prose": (answering(" lorem" * 170_000), {"unparsable": 3}, 3),
    "1 MB of symbols": (answering(" b" * 500_000), {"unfinished": 3}, 3),
    "at the limit": (answering(" b b", "length"), {"unfinished": 3}, 3),
    "content filter": (answering("", "content_filter"), {"content-filter": 3}, 3),
    "elsewhere": (status(307, Location="http://127.0.0.1:9/v1/completions"), {"http-307": 3}, 3),
}


SLOW = {"hung once", "hung always", "drips"}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_retried_within_bounds_or_has_its_status(name: str, tmp_path: Path) -> None:
    script, statuses, requests = FAULTS[name]
    with serving(script) as server:
        evaluation = evaluated(server.url, tmp_path, timeout=0.3 if name in SLOW else 5.0)
    assert evaluation.main.greedy.statuses == statuses
    assert len(server.requests) == requests
    # Each fault counts as a failure of the headline, and the table shows the number of faults.
    assert evaluation.main.greedy.report.headline.n == 3
    from hf_ruleextrap.evaluation.table import statuses_table

    assert {row[0]: int(row[1]) for row in statuses_table(evaluation)[1]} == statuses


def test_requests_to_an_unreachable_server_stop_early(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    evaluation = evaluated(f"http://127.0.0.1:{port}/v1", tmp_path, limit=30, retries=0)
    assert evaluation.main.greedy.statuses == {"not-sent": 20, "no-connection": 10}
    assert "refused" in evaluation.faults["no-connection"]


def test_the_client_waits_as_long_as_retry_after_says(tmp_path: Path) -> None:
    with serving(once(status(429, Retry_After="0.4"))) as server:
        start = time.monotonic()
        evaluated(server.url, tmp_path)
        assert time.monotonic() - start >= 0.4


def test_every_parameter_is_sent_and_the_endpoints_are_right(tmp_path: Path) -> None:
    paths: list[str] = []

    def script(handler: Handler, body: dict[str, Any], number: int) -> None:
        paths.append(handler.path)
        well(handler, body, number)

    with serving(script) as server:
        evaluated(server.url, tmp_path / "plain", limit=1, samples=1)
        evaluated(server.url, tmp_path / "chat", limit=1, chat=True)
    assert paths == ["/v1/completions"] * 2 + ["/v1/chat/completions"]
    greedy, drawn, chat = map(json.loads, server.requests)
    assert {key: greedy[key] for key in ("temperature", "top_p", "n", "max_tokens", "stop", "stream")} == {
        "temperature": 0.0,
        "top_p": 1.0,
        "n": 1,
        "max_tokens": 33,
        "stop": ["\n"],
        "stream": False,
    }
    assert drawn["temperature"] == 1.0
    assert drawn["prompt"] == greedy["prompt"]
    assert [turn["role"] for turn in chat["messages"]] == ["user", "assistant"] * 2 + ["user"]
    assert "stop" not in chat


def test_requests_overlap_within_the_limit(tmp_path: Path) -> None:
    open_requests, most_open_requests, lock = [0], [0], threading.Lock()

    def script(handler: Handler, body: dict[str, Any], number: int) -> None:
        with lock:
            open_requests[0] += 1
            most_open_requests[0] = max(most_open_requests[0], open_requests[0])
        time.sleep(0.05)
        with lock:
            open_requests[0] -= 1
        well(handler, body, number)

    with serving(script) as server:
        evaluated(server.url, tmp_path, limit=12, concurrency=3)
    assert most_open_requests[0] == 3


def test_closing_the_iterator_stops_the_requests() -> None:
    requests = [Request(f"a {i}", 9, 0.0, 0, 0, "\n") for i in range(50)]
    with serving() as server:
        answers = text_completer("openai", BackendConfig("m", base_url=server.url, concurrency=2)).answers(requests)
        next(answers)
        answers.close()  # type: ignore[attr-defined]  # it is a generator
        assert len(server.requests) < 50


@pytest.mark.timeout(60)
def test_no_request_is_sent_before_the_last_answer_of_its_connection_was_consumed() -> None:
    requests = [Request("a", 9, 0.0, sample, sample, None) for sample in range(6)]
    numbers_of_requests = []
    with serving() as server:
        for _ in text_completer("openai", BackendConfig("m", base_url=server.url, concurrency=1)).answers(requests):
            # A caller may take time to store an answer, and may be killed meanwhile.
            time.sleep(0.1)
            numbers_of_requests.append(len(server.requests))
    assert numbers_of_requests == [1, 2, 3, 4, 5, 6]


def test_a_second_run_sends_no_stored_request_again(tmp_path: Path) -> None:
    with serving() as server:
        first = evaluated(server.url, tmp_path, samples=2)
        assert len(server.requests) == 9
        second = evaluated(server.url, tmp_path, samples=2)
        assert len(server.requests) == 9
        assert second == first
        # A fault is not stored, so its request is sent again.
        server.script = status(400)
        evaluated(server.url, tmp_path, limit=4, samples=2)
        requests_after_the_fault = len(server.requests)
        server.script = well
        third = evaluated(server.url, tmp_path, limit=4, samples=2)
    assert requests_after_the_fault > 9
    assert set(third.main.greedy.statuses) == {"ok"}


def test_a_run_can_be_replayed_from_its_record(tmp_path: Path) -> None:
    with serving() as server:
        first = evaluated(server.url, tmp_path / "run", samples=2)
    record = str(tmp_path / "run" / "answers.jsonl")
    replay = text_completer("replay", BackendConfig(record))
    again = TextRun(replay, record, first.main.settings, controls=False, out=tmp_path / "again")()
    assert again.main.greedy == first.main.greedy
    assert again.main.drawn == first.main.drawn
    more = TextRun(replay, record, first.main.settings.with_changes(limit=4), controls=False, out=tmp_path / "more")()
    assert more.main.greedy.statuses["not-recorded"] >= 1


def command(server: Server, out: Path, *more: str) -> list[str]:
    flags = ["--base-url", server.url, "--out", str(out), "--limit", "6", "--samples", "2", "--shots", "2"]
    flags += ["--retries", "0", "--concurrency", "2", *more]
    return [sys.executable, "-m", "hf_ruleextrap", "evaluate", "--model", "m", "--language", "anbn", *flags]


@pytest.mark.timeout(120)
def test_a_killed_evaluation_resumes_and_sends_no_request_twice(tmp_path: Path) -> None:
    waiting_connections, release = threading.Semaphore(0), threading.Event()

    def stalls(handler: Handler, body: dict[str, Any], number: int) -> None:
        if number > 7 and not release.is_set():
            waiting_connections.release()
            release.wait(60)
            return
        well(handler, body, number)

    with serving(stalls) as server:
        process = subprocess.Popen(command(server, tmp_path / "killed"), stderr=subprocess.DEVNULL)
        # Both connections wait, so all earlier answers have arrived.
        assert waiting_connections.acquire(timeout=60)
        assert waiting_connections.acquire(timeout=60)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        release.set()
        assert len(server.answered_requests) == 7
        subprocess.run(command(server, tmp_path / "killed"), check=True, capture_output=True, timeout=60)
        assert Counter(server.answered_requests) == dict.fromkeys(server.answered_requests, 1)
        assert len(server.answered_requests) == 18
    with serving() as server:
        subprocess.run(command(server, tmp_path / "whole"), check=True, capture_output=True, timeout=60)
    killed, whole = (Evaluation.read(tmp_path / name) for name in ("killed", "whole"))
    assert killed.conditions == whole.conditions
    records = [sorted((tmp_path / name / "answers.jsonl").read_text().splitlines()) for name in ("killed", "whole")]
    assert records[0] == records[1]


@pytest.mark.timeout(120)
def test_the_key_appears_in_no_output_and_no_file(tmp_path: Path) -> None:
    def repeat_the_key(handler: Handler, body: dict[str, Any], number: int) -> None:
        secret = handler.headers["Authorization"]
        assert secret == f"Bearer {KEY}"
        if number % 3 == 0:
            handler.answer(body, f" b {secret}")
        elif number % 3 == 1:
            handler.respond(f"wrong key {'x' * 180}{secret}", 400)
        else:
            handler.respond('{"choices": ' + secret)

    environment = {**os.environ, "MY_KEY": KEY}
    with serving(repeat_the_key) as server:
        arguments = command(server, tmp_path / "out", "--key-env", "MY_KEY")
        process = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert process.returncode == 2
    assert "answers are missing" in process.stderr
    assert "http-400" in process.stdout
    texts = [process.stdout, process.stderr, *(path.read_text() for path in tmp_path.rglob("*") if path.is_file())]
    assert len(texts) > 4
    assert any("[key]" in text for text in texts)
    # A cut of a text must not leave a part of the key either.
    assert not [text for text in texts if KEY[:12] in text]


def test_the_representation_of_a_completer_hides_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    completer = text_completer("openai", BackendConfig("m"))
    assert KEY not in repr(completer) + json.dumps(completer.identity) + repr(BackendConfig("m"))
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\nInjected: yes")
    with pytest.raises(RuleExtrapError, match="the key in OPENAI_API_KEY has spaces") as wrong:
        text_completer("openai", BackendConfig("m"))
    assert KEY not in str(wrong.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key_env": "NO_SUCH_KEY"}, "the environment variable NO_SUCH_KEY holds no key"),
        ({"base_url": f"http://me:{KEY}@host/v1"}, "put the key in an environment variable"),
        ({"base_url": f"http://host/v1?key={KEY}"}, "put the key in an environment variable"),
        ({"base_url": "127.0.0.1:8000"}, "the base URL is not a URL"),
    ],
)
def test_invalid_backend_settings_are_refused_in_one_line_without_the_key(
    settings: dict[str, str], message: str
) -> None:
    with pytest.raises(RuleExtrapError, match=message) as wrong:
        text_completer("openai", BackendConfig("m", **settings))  # type: ignore[arg-type]
    assert KEY not in str(wrong.value)


def test_messages_of_a_server_are_shown_without_control_characters(tmp_path: Path) -> None:
    with serving(lambda handler, _, __: handler.respond("bad \x1b[31mred\nnews\u202e", 400)) as server:
        evaluation = evaluated(server.url, tmp_path, limit=1)
    assert evaluation.faults == {"http-400": "bad  [31mred news"}


def test_a_conversation_is_answered() -> None:
    turns = (Turn("user", "a a"), Turn("assistant", "b b"), Turn("user", "a"))
    request = Request(turns, 9, 0.0, 0, 0, None)
    with serving() as server:
        ((place, answer),) = text_completer("openai", BackendConfig("m", base_url=server.url)).answers([request])
    assert (place, answer) == (0, Answer("b", True))
    assert answer_to(json.loads(server.requests[0])) == "b"
