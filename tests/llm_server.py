"""A server on this machine that speaks OpenAI's protocol. A script decides on each response."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[["Handler", dict[str, Any], int], None]


def answer_to(body: dict[str, Any]) -> str:
    """Return the answer of the model behind the server: a b for each a in the last line of the prompt.

    An answer that is drawn may have one more b.
    """
    chat = "messages" in body
    line = body["messages"][-1]["content"] if chat else body["prompt"].split("\n")[-1]
    text = " b" * (line.count("a") + (body["seed"] % 2 if body["temperature"] else 0))
    return text.strip() if chat else f"{text}\n"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(json.dumps(body, sort_keys=True))
            number = len(self.server.requests)
        self.server.script(self, body, number)

    def respond(self, content: bytes | str, status: int = 200, *, length: int | None = None, **headers: str) -> None:
        content = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def answer(self, body: dict[str, Any], text: str | None = None, reason: str = "stop") -> None:
        text = answer_to(body) if text is None else text
        with self.server.lock:
            self.server.answered_requests.append(json.dumps(body, sort_keys=True))
        choice = {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        self.respond(json.dumps({"choices": [{**choice, "index": 0, "finish_reason": reason}]}))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in the base class
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.lock = threading.Lock()
        self.requests: list[str] = []
        self.answered_requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        # The client has closed the connection, or was killed.
        pass


def well(handler: Handler, body: dict[str, Any], number: int) -> None:
    del number
    handler.answer(body)


@contextmanager
def serving(script: Script = well) -> Iterator[Server]:
    server = Server(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
