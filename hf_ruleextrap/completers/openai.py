"""Any server that speaks OpenAI's protocol: ``/completions`` for texts, ``/chat/completions`` for conversations."""

from __future__ import annotations

import json
import os
import queue
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import anyio
import httpx
import numpy as np
from anyio.from_thread import start_blocking_portal

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.words import FloatArray

from .base import Abilities, Answer, BackendConfig, Request
from .http import Failure, checked_url, client, post, proxy_secrets, redacted
from .reading import read_response
from .replay import as_json

DEFAULT_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"

# No answer needs more characters: longer ones are unfinished or unparsable in their first characters already. In a
# conversation the model's thoughts may stand before the answer.
_MOST_TEXT = {False: 16_384, True: 1 << 20}
# After this number of failed requests in a row, the rest is not sent.
_MOST_IN_A_ROW = 10
# Sending again cannot help, for this request or any other.
_FATAL = {"http-401", "http-403", "http-404", "http-407"}
_AGAIN = {
    *("http-408", "http-409", "http-429"),
    *("bad-json", "broken-off", "no-choice", "no-connection", "server-error", "timeout"),
}
# A key changes no answer that can be read: an answer is touched only where the server repeats a key that is longer than
# any symbol, and what is left is as unparsable as before. A shorter key may be a part of an honest answer.
_SHORTEST_KEY = 16


class OpenAICompleter:
    """Sends several requests at once, and again within bounds where they fail; what still fails has its fault."""

    abilities = Abilities(plain=True, chat=True, sampling=True, log_probabilities=False)

    def __init__(self, backend: BackendConfig) -> None:
        """Read the key from the environment; nothing is sent.

        Raises:
            RuleExtrapError: The base URL is not a URL, or the variable that is named holds no key.
        """
        self.backend = backend
        base = (backend.base_url or DEFAULT_URL).rstrip("/")
        self.urls = {chat: checked_url(f"{base}/{'chat/' if chat else ''}completions") for chat in (False, True)}
        self._key = _key(backend)
        self._secrets = [*filter(None, [self._key]), *proxy_secrets()]
        self.identity: dict[str, Any] = {"backend": "openai", "model": backend.model, "base_url": base}
        self._failed_in_a_row = 0

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """See `TextCompleter.answers`. A caller that stops listening pays for no further request.

        A connection sends its next request once the caller has asked for the answer after its last one: a caller that
        stores each answer loses at most the requests that are under way when its process is killed.
        """
        arrived: queue.SimpleQueue[tuple[int, Answer, anyio.Event] | None] = queue.SimpleQueue()
        with start_blocking_portal() as portal:
            work = portal.start_task_soon(self._ask_all, requests, arrived)
            while (arrival := arrived.get()) is not None:
                place, answer, taken = arrival
                yield place, answer
                portal.start_task_soon(taken.set)
            # An error of the work itself is raised here.
            work.result()

    async def _ask_all(self, requests: Sequence[Request], arrived: queue.SimpleQueue[Any]) -> None:
        waiting = iter(enumerate(requests))

        async def work() -> None:
            for place, request in waiting:
                taken = anyio.Event()
                arrived.put((place, await self._answer(connections, request), taken))
                await taken.wait()

        try:
            async with client(self.backend.concurrency) as connections, anyio.create_task_group() as group:
                for _ in range(self.backend.concurrency):
                    group.start_soon(work)
        finally:
            arrived.put(None)

    def encode(self, text: str) -> None:
        """Not known."""
        del text

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Not known; see `abilities`: servers differ in what they call log-probabilities."""
        return np.full(len(pairs), np.nan)

    async def _answer(self, connections: httpx.AsyncClient, request: Request) -> Answer:
        if self._failed_in_a_row >= _MOST_IN_A_ROW:
            return Answer("", False, "not-sent", "too many requests before it failed")
        answer = await self._with_retries(connections, request)
        if not answer.fault:
            self._failed_in_a_row = 0
        else:
            self._failed_in_a_row += _MOST_IN_A_ROW if answer.fault in _FATAL else 1
        # Before they are cut, or a part of the key could be left.
        text = redacted(answer.text, [key for key in self._secrets if len(key) >= _SHORTEST_KEY])
        detail = _one_line(redacted(answer.detail, self._secrets))
        return replace(answer, text=text[: _MOST_TEXT[request.chat]], detail=detail)

    async def _with_retries(self, connections: httpx.AsyncClient, request: Request) -> Answer:
        backend, attempt = self.backend, 0
        while True:
            try:
                return read_response(await self._send(connections, request), chat=request.chat)
            except Failure as error:
                failure = error
            except RecursionError:
                failure = Failure("bad-json", "the response is nested too deeply")
            again = failure.fault in _AGAIN or failure.fault.startswith("http-5")
            if not again or attempt == backend.retries:
                return Answer("", False, failure.fault, failure.detail)
            wait = backend.back_off * 2.0 ** min(attempt, 64) if failure.retry_after is None else failure.retry_after
            await anyio.sleep(min(wait, backend.max_wait))
            attempt += 1

    async def _send(self, connections: httpx.AsyncClient, request: Request) -> bytes:
        # Every parameter of sampling is said, since servers' defaults differ.
        body: dict[str, Any] = {
            "model": self.backend.model,
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": 1.0,
            "n": 1,
            "seed": request.seed,
            "stream": False,
            "messages" if request.chat else "prompt": as_json(request.prompt),
        }
        if request.stop is not None:
            body["stop"] = [request.stop]
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        url, content = self.urls[request.chat], json.dumps(body).encode()
        return await post(connections, url, content, headers, timeout=self.backend.timeout)

    def __repr__(self) -> str:
        return f"OpenAICompleter({self.identity['model']!r} at {self.identity['base_url']})"


def _key(backend: BackendConfig) -> str:
    """The key in the environment, or nothing (a server of one's own needs none)."""
    variable = backend.key_env or KEY_VARIABLE
    key = os.environ.get(variable, "").strip()
    if backend.key_env and not key:
        raise RuleExtrapError(f"the environment variable {variable} holds no key: set it, or leave out --key-env")
    # An error of the HTTP library would quote it.
    if re.search(r"[^\x21-\x7e]", key):
        raise RuleExtrapError(f"the key in {variable} has spaces or characters outside ASCII: set it again")
    return key


def _one_line(text: str) -> str:
    """What a server says, without line breaks and control characters, and short."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:200]).strip()
