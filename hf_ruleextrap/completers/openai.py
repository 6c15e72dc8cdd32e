"""A text completer for servers with OpenAI's API: ``/completions`` for texts, ``/chat/completions`` for chats."""

from __future__ import annotations

import json
import os
import queue
import re
from collections.abc import Iterator, Mapping, Sequence
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
from .reading import read_response, refused_parameter
from .replay import as_json

DEFAULT_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"

# The largest number of characters that is kept of an answer, without and with chat. The first characters of a longer
# answer already show that it is unfinished or unparsable. In a chat, the model's reasoning may precede the answer.
_MOST_TEXT = {False: 16_384, True: 1 << 20}
# The number of consecutive failed requests after which no further request is sent.
_MOST_IN_A_ROW = 10
# After these faults, no retry and no other request can succeed.
_FATAL = {"http-401", "http-403", "http-404", "http-407"}
_AGAIN = {
    *("http-408", "http-409", "http-429"),
    *("bad-json", "broken-off", "no-choice", "no-connection", "server-error", "timeout"),
}
# The shortest key that is removed from answers. A key of this length is longer than any symbol, so removing it changes
# only answers that were unparsable anyway. A shorter key could be part of a valid answer.
_SHORTEST_KEY = 16


class OpenAICompleter:
    """A text completer that sends several requests at a time and retries failed requests a limited number of times."""

    abilities = Abilities(plain=True, chat=True, sampling=True, log_probabilities=False)

    def __init__(self, backend: BackendConfig) -> None:
        """Read the key from the environment, without sending a request.

        Raises:
            RuleExtrapError: If the base URL is not a URL, or if the environment variable holds no key.
        """
        self.backend = backend
        base = (backend.base_url or DEFAULT_URL).rstrip("/")
        self.urls = {chat: checked_url(f"{base}/{'chat/' if chat else ''}completions") for chat in (False, True)}
        self._key = _key(backend)
        self._secrets = [*filter(None, [self._key]), *proxy_secrets()]
        self.identity: dict[str, Any] = {"backend": "openai", "model": backend.model, "base_url": base}
        self._failed_in_a_row = 0
        # The parameters that the server refuses, each with its new name, or None.
        self._refused: Mapping[str, str | None] = {}
        self._first_answered = False

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answer requests; see `TextCompleter.answers`. No further request is sent after the caller stops iterating.

        A connection sends its next request after the caller has taken its last answer and requested another. A caller
        that stores each answer therefore loses at most the requests in progress when its process is killed.
        """
        arrived: queue.SimpleQueue[tuple[int, Answer, anyio.Event] | None] = queue.SimpleQueue()
        with start_blocking_portal() as portal:
            work = portal.start_task_soon(self._ask_all, requests, arrived)
            while (arrival := arrived.get()) is not None:
                place, answer, taken = arrival
                yield place, answer
                portal.start_task_soon(taken.set)
            # This raises the exception of the background task, if there is one.
            work.result()

    async def _ask_all(self, requests: Sequence[Request], arrived: queue.SimpleQueue[Any]) -> None:
        waiting = iter(enumerate(requests))
        alone = anyio.Lock()

        async def answer(request: Request) -> Answer:
            # The first request is sent alone, so that the server refuses a parameter once and not on each connection.
            async with alone:
                if not self._first_answered:
                    try:
                        return await self._answer(connections, request)
                    finally:
                        self._first_answered = True
            return await self._answer(connections, request)

        async def work() -> None:
            for place, request in waiting:
                taken = anyio.Event()
                arrived.put((place, await answer(request), taken))
                await taken.wait()

        try:
            async with client(self.backend.concurrency) as connections, anyio.create_task_group() as group:
                for _ in range(self.backend.concurrency):
                    group.start_soon(work)
        finally:
            arrived.put(None)

    def encode(self, text: str) -> None:
        """Return None, because the server's tokenizer is not available."""
        del text

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Return NaN, because servers differ in the meaning of log-probabilities; see `abilities`."""
        return np.full(len(pairs), np.nan)

    async def _answer(self, connections: httpx.AsyncClient, request: Request) -> Answer:
        if self._failed_in_a_row >= _MOST_IN_A_ROW:
            return Answer("", False, "not-sent", "too many requests before it failed")
        answer = await self._with_retries(connections, request)
        if not answer.fault:
            self._failed_in_a_row = 0
        else:
            self._failed_in_a_row += _MOST_IN_A_ROW if answer.fault in _FATAL else 1
        # Secrets are removed before the texts are cut, because a cut could leave part of a key.
        text = redacted(answer.text, [key for key in self._secrets if len(key) >= _SHORTEST_KEY])
        detail = _one_line(redacted(answer.detail, self._secrets))
        return replace(answer, text=text[: _MOST_TEXT[request.chat]], detail=detail)

    async def _with_retries(self, connections: httpx.AsyncClient, request: Request) -> Answer:
        backend, attempt, refused = self.backend, 0, self._refused
        while True:
            body = self._body(request, refused)
            try:
                answer = read_response(await self._send(connections, request, body), chat=request.chat)
            except Failure as error:
                failure = error
            except RecursionError:
                failure = Failure("bad-json", "the response is nested too deeply")
            else:
                # A parameter counts as refused only after the request without the parameter has an answer.
                self._refused = refused
                return replace(answer, refused=refused)
            parameter = _refused_parameter(failure, body)
            if parameter:
                refused = {**self._refused, **refused, **_without(parameter, refused)}
                continue
            may_help = failure.fault in _AGAIN or failure.fault.startswith("http-5")
            if not may_help or attempt == backend.retries:
                return Answer("", False, failure.fault, failure.detail)
            wait = backend.back_off * 2.0 ** min(attempt, 64) if failure.retry_after is None else failure.retry_after
            await anyio.sleep(min(wait, backend.max_wait))
            attempt += 1

    def _body(self, request: Request, refused: Mapping[str, str | None]) -> dict[str, Any]:
        """Return the body of a request without the refused parameters, or with their new names."""
        # The request states every sampling parameter, because the defaults of servers differ.
        parameters: dict[str, Any] = {
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": 1.0,
            "n": 1,
            "seed": request.seed,
            "stream": False,
        }
        if request.stop is not None:
            parameters["stop"] = [request.stop]
        names = {name: refused.get(name, name) for name in parameters}
        return {
            "model": self.backend.model,
            "messages" if request.chat else "prompt": as_json(request.prompt),
            **{name: parameters[parameter] for parameter, name in names.items() if name is not None},
        }

    async def _send(self, connections: httpx.AsyncClient, request: Request, body: dict[str, Any]) -> bytes:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        url, content = self.urls[request.chat], json.dumps(body).encode()
        return await post(connections, url, content, headers, timeout=self.backend.timeout)

    def __repr__(self) -> str:
        return f"OpenAICompleter({self.identity['model']!r} at {self.identity['base_url']})"


def _refused_parameter(failure: Failure, body: Mapping[str, Any]) -> str | None:
    """Return the parameter of a request that the server refuses by name, or None."""
    if failure.fault in _FATAL or not (failure.fault.startswith("http-") or failure.fault == "server-error"):
        return None
    sent = [name for name in body if name not in ("model", "messages", "prompt")]
    return refused_parameter(failure.response or failure.detail, sent)


def _without(parameter: str, refused: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the new name of a parameter that is refused: ``max_tokens`` has one, any other is left out."""
    if parameter == "max_tokens":
        return {parameter: "max_completion_tokens"}
    return {next((old for old, new in refused.items() if new == parameter), parameter): None}


def _key(backend: BackendConfig) -> str:
    """Return the key from the environment, or an empty text (a local server needs no key)."""
    variable = backend.key_env or KEY_VARIABLE
    key = os.environ.get(variable, "").strip()
    if backend.key_env and not key:
        raise RuleExtrapError(f"the environment variable {variable} holds no key: set it, or leave out --key-env")
    # The HTTP library would quote a key with these characters in its error message.
    if re.search(r"[^\x21-\x7e]", key):
        raise RuleExtrapError(f"the key in {variable} has spaces or characters outside ASCII: set it again")
    return key


def _one_line(text: str) -> str:
    """Return the first characters of a server's message, without line breaks and control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:200]).strip()
