"""Servers that never finish a response, keys that look like answers, and proxies."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from language_models import Handler, serving

from hf_ruleextrap.completers import Answer, BackendConfig, Request, text_completer
from hf_ruleextrap.errors import RuleExtrapError

REQUEST = Request("a b\na a", 9, 0.0, 0, 0, "\n")
BODY = json.dumps({"choices": [{"text": " b", "finish_reason": "stop"}]}).encode()
PATIENCE = 0.4


@contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Start a server that handles each connection with a function, and yield its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=alone, args=(connection,), daemon=True).start()

    def alone(connection: socket.socket) -> None:
        # The client may have closed the connection.
        with connection, suppress(OSError):
            talk(connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def forever(*words: bytes) -> Callable[[socket.socket], None]:
    """Return a function that sends all words but the last, and then the last word again and again."""

    def talk(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        for word in words[:-1]:
            connection.sendall(word)
        for _ in range(200):
            connection.sendall(words[-1])
            time.sleep(0.05)

    return talk


def deaf(connection: socket.socket) -> None:
    """Keep the connection open and read nothing."""
    del connection
    time.sleep(10)


def answer_and_seconds(port: int, request: Request = REQUEST, **settings: float) -> tuple[Answer, float]:
    backend = BackendConfig("m", base_url=f"http://127.0.0.1:{port}/v1", retries=0, timeout=PATIENCE)
    for name, value in settings.items():
        object.__setattr__(backend, name, value)
    start = time.monotonic()
    ((_, answer),) = text_completer("openai", backend).answers([request])
    return answer, time.monotonic() - start


STALLS: dict[str, Callable[[socket.socket], None]] = {
    "headers": forever(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n"),
    "bytes of a header": forever(b"HTTP/1.1 200 OK\r\nX-More: ", b"x"),
    "the status line": forever(b"HTTP/1.1 2", b""),
    "continue": forever(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "early hints": forever(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    "chunks": forever(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "bytes of a chunk": forever(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", b" "),
    "bytes": forever(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "an error's bytes": forever(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100000\r\n\r\n", b" "),
    "no word": forever(b""),
    "no reading": deaf,
}


@pytest.mark.parametrize("name", STALLS)
def test_the_time_limit_covers_the_whole_request(name: str) -> None:
    # The request is too large for the buffers of a connection from which nobody reads.
    request = REQUEST if name != "no reading" else Request("a " * 5_000_000, 9, 0.0, 0, 0, "\n")
    with raw_server(STALLS[name]) as port:
        answer, seconds = answer_and_seconds(port, request)
    assert answer.fault == "timeout"
    assert seconds < PATIENCE + 1.5


def test_a_response_that_is_too_large_is_cut_off() -> None:
    def send_without_end(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * (1 << 20))

    with raw_server(send_without_end) as port:
        answer, _ = answer_and_seconds(port, timeout=20.0)
    assert answer.fault == "too-large"


def busy_at_first(retry_after: str) -> Callable[[Handler, dict[str, object], int], None]:
    """Return a behaviour that refuses the first request with a Retry-After header and answers the others."""

    def behave(handler: Handler, body: dict[str, object], number: int) -> None:
        if number == 1:
            handler.respond("busy", 429, Retry_After=retry_after)
        else:
            handler.answer(body)

    return behave


@pytest.mark.parametrize("after", ["100000", "1e999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_retry_after_is_limited_by_max_wait(after: str) -> None:
    with serving(busy_at_first(after)) as server:
        answer, seconds = answer_and_seconds(server.server_port, retries=1, max_wait=0.2, timeout=5.0)
    assert not answer.fault
    assert 0.2 <= seconds < 2


@pytest.mark.parametrize("after", ["nan", "-5", "soon", "", "Fri, 99 Foo 2020", "0"])
def test_an_invalid_retry_after_header_is_ignored(after: str) -> None:
    with serving(busy_at_first(after)) as server:
        answer, seconds = answer_and_seconds(server.server_port, retries=1, back_off=0.01, timeout=5.0)
    assert not answer.fault
    assert seconds < 2


@pytest.mark.parametrize(("name", "value"), [("timeout", float("nan")), ("timeout", float("inf")), ("max_wait", -1.0)])
def test_an_invalid_waiting_time_is_refused_in_one_line(name: str, value: float) -> None:
    with pytest.raises(RuleExtrapError, match=rf"{name} is .*: give .* or more"):
        BackendConfig("m", **{name: value})  # type: ignore[arg-type]


# The key.


@pytest.mark.parametrize("key", ["b", "a", "aa", "table"])
def test_the_key_is_not_removed_from_answers(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    for text in (" b b", " a aa table", " [key] b"):
        with serving(lambda handler, body, _, text=text: handler.answer(body, text)) as server:  # type: ignore[misc]  # a default binds the text
            answer, _ = answer_and_seconds(server.server_port, timeout=5.0)
        assert answer == Answer(text, ended=True)


def test_diagnostics_do_not_contain_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "short/key")
    message = "wrong: short/key short%2Fkey"
    with serving(lambda handler, _, __: handler.respond(message, 400)) as server:
        answer, _ = answer_and_seconds(server.server_port, timeout=5.0)
    assert answer.detail == "wrong: [key] [key]"


# Proxies.


@contextmanager
def proxy(needs: str | None) -> Iterator[int]:
    """Start a proxy that answers requests itself if they have the right credentials, and yield its port."""

    def talk(connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1 << 16)
        if needs and f"proxy-authorization: basic {needs}".lower().encode() not in head.lower():
            words = f"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: {len(needs)}\r\n\r\n{needs}"
            connection.sendall(words.encode())
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)

    with raw_server(talk) as port:
        yield port


def through(monkeypatch: pytest.MonkeyPatch, address: str, base_url: str = "http://server.invalid/v1") -> Answer:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.setenv("https_proxy", address)
    completer = text_completer("openai", BackendConfig("m", base_url=base_url, retries=0, timeout=10))
    ((_, answer),) = completer.answers([REQUEST])
    return answer


def test_a_proxy_receives_the_credentials_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = base64.b64encode(b"user:p@ss").decode()
    with proxy(credentials) as port:
        assert through(monkeypatch, f"http://user:p%40ss@127.0.0.1:{port}") == Answer(" b", ended=True)
        other = through(monkeypatch, f"http://user:p%40sz@127.0.0.1:{port}")
        assert other.fault == "http-407"
        assert through(monkeypatch, f"http://127.0.0.1:{port}").fault == "http-407"
        # A refused tunnel gives no response.
        assert through(monkeypatch, f"http://127.0.0.1:{port}", "https://server.invalid/v1").fault == "http-407"
    with proxy(None) as port:
        assert not through(monkeypatch, f"http://127.0.0.1:{port}").fault


def test_the_password_of_a_proxy_is_removed_from_diagnostics(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = base64.b64encode(b"user:p@ss").decode()

    def repeat_the_credentials(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        words = f"who are you? {credentials} p@ss p%40ss"
        connection.sendall(f"HTTP/1.1 403 No\r\nContent-Length: {len(words)}\r\n\r\n{words}".encode())

    with raw_server(repeat_the_credentials) as port:
        answer = through(monkeypatch, f"http://user:p%40ss@127.0.0.1:{port}")
    assert answer.detail == "who are you? [key] [key] [key]"


def test_an_invalid_proxy_is_refused_in_one_line_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuleExtrapError, match="the proxy or the certificates") as wrong:
        through(monkeypatch, "gopher://user:s3cret@127.0.0.1:9")
    assert "s3cret" not in str(wrong.value)
