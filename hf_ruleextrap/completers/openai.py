"""A text completer for servers with OpenAI's API: ``/completions`` for texts, ``/chat/completions`` for chats."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import anyio
import httpx
import numpy as np

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.words import FloatArray

from .base import Abilities, Answer, BackendConfig, Request
from .http import checked_url, in_parallel, post, proxy_secrets, redacted
from .reading import Failure, read_log_probability, read_response, refused_parameter
from .replay import as_json

_Result = TypeVar("_Result")

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


@dataclass
class _First:
    """The state of the first request, which is sent alone."""

    done: bool = False
    lock: anyio.Lock = field(default_factory=anyio.Lock)


class OpenAICompleter:
    """A text completer that sends several requests at a time and retries failed requests a limited number of times."""

    abilities = Abilities(plain=True, chat=True, sampling=True, log_probabilities=True)

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
        self._first = _First()

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answer requests; see `TextCompleter.answers` and `http.in_parallel`."""
        return in_parallel(requests, self._answer, connections=self.backend.concurrency)

    def encode(self, text: str) -> None:
        """Return None, because the server's tokenizer is not available."""
        del text

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Ask the server for log-probabilities; see `TextCompleter.log_probabilities`.

        The server repeats the two texts as one prompt (``echo``) with the log-probability of each token (``logprobs``).

        Raises:
            RuleExtrapError: If the server returns no log-probabilities of a prompt.
        """
        sums = np.zeros(len(pairs))
        with closing(in_parallel(pairs, self._log_probability, connections=self.backend.concurrency)) as results:
            for place, result in results:
                if isinstance(result, Failure):
                    fault = f"{result.fault}: {_one_line(redacted(result.detail, self._secrets))}"
                    advice = "give a server that takes echo with logprobs, such as vLLM, or give --backend hf"
                    if result.fault in _FATAL - {"http-404"} or _may_help(result):
                        advice = "give the same command again when the server answers"
                    raise RuleExtrapError(
                        f"{self.identity['base_url']} gives no log-probabilities of a prompt ({fault}): {advice}"
                    )
                sums[place] = result
        return sums

    async def _answer(self, connections: httpx.AsyncClient, request: Request) -> Answer:
        if self._failed_in_a_row >= _MOST_IN_A_ROW:
            return Answer("", False, "not-sent", "too many requests before it failed")
        prompt = {"messages" if request.chat else "prompt": as_json(request.prompt)}
        try:
            read = partial(read_response, chat=request.chat)
            answer, refused = await self._negotiated(connections, request, prompt, read)
            answer = replace(answer, refused=refused)
        except Failure as failure:
            answer = Answer("", False, failure.fault, failure.detail)
        if not answer.fault:
            self._failed_in_a_row = 0
        else:
            self._failed_in_a_row += _MOST_IN_A_ROW if answer.fault in _FATAL else 1
        # Secrets are removed before the texts are cut, because a cut could leave part of a key.
        text = redacted(answer.text, [key for key in self._secrets if len(key) >= _SHORTEST_KEY])
        detail = _one_line(redacted(answer.detail, self._secrets))
        return replace(answer, text=text[: _MOST_TEXT[request.chat]], detail=detail)

    async def _log_probability(self, connections: httpx.AsyncClient, pair: tuple[str, str]) -> float | Failure:
        before, after = pair
        # Some servers accept no request for 0 new tokens. The new token is not read.
        request = Request(before + after, max_new_tokens=1, temperature=0.0, sample=0, seed=0, stop=None)
        body = {"prompt": request.prompt, "echo": True, "logprobs": 1}
        try:
            read = partial(read_log_probability, before=before, after=after)
            return (await self._negotiated(connections, request, body, read))[0]
        except Failure as failure:
            return failure

    async def _negotiated(
        self,
        connections: httpx.AsyncClient,
        request: Request,
        body: Mapping[str, Any],
        read: Callable[[bytes], _Result],
    ) -> tuple[_Result, Mapping[str, str | None]]:
        """Send a request with `_with_retries`, the first request of the completer alone.

        The server therefore refuses a parameter once, and not on each connection.

        Args:
            connections: The HTTP client.
            request: The request.
            body: The part of the request's body that is not negotiable.
            read: The function that reads the response.

        Returns:
            The result of ``read``, and the refused parameters as in `Answer.refused`.

        Raises:
            Failure: If there is no usable response after all retries.
        """
        async with self._first.lock:
            if not self._first.done:
                try:
                    return await self._with_retries(connections, request, body, read)
                finally:
                    self._first.done = True
        return await self._with_retries(connections, request, body, read)

    async def _with_retries(
        self,
        connections: httpx.AsyncClient,
        request: Request,
        body: Mapping[str, Any],
        read: Callable[[bytes], _Result],
    ) -> tuple[_Result, Mapping[str, str | None]]:
        """Send a request until the server gives a usable response; the arguments are those of `_negotiated`.

        A parameter that the server refuses is left out, or sent under its new name, at once. After a fault that may be
        temporary, the request is sent again after a wait, for a limited number of times.
        """
        backend, attempt, refused = self.backend, 0, self._refused
        while True:
            parameters = _parameters(request, refused)
            try:
                content = json.dumps({"model": backend.model, **body, **parameters}).encode()
                result = read(await self._post(connections, content, chat=request.chat))
            except Failure as error:
                failure = error
            except RecursionError:
                failure = Failure("bad-json", "the response is nested too deeply")
            else:
                # A parameter counts as refused only after the request without the parameter has an answer.
                self._refused = refused
                return result, refused
            parameter = _refused_parameter(failure, parameters)
            if parameter:
                refused = {**self._refused, **refused, **_without(parameter, refused)}
                continue
            if not _may_help(failure) or attempt == backend.retries:
                raise failure
            wait = backend.back_off * 2.0 ** min(attempt, 64) if failure.retry_after is None else failure.retry_after
            await anyio.sleep(min(wait, backend.max_wait))
            attempt += 1

    async def _post(self, connections: httpx.AsyncClient, content: bytes, *, chat: bool) -> bytes:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return await post(connections, self.urls[chat], content, headers, timeout=self.backend.timeout)

    def __repr__(self) -> str:
        return f"OpenAICompleter({self.identity['model']!r} at {self.identity['base_url']})"


def _may_help(failure: Failure) -> bool:
    """Return whether the same request may succeed later."""
    return failure.fault in _AGAIN or failure.fault.startswith("http-5")


def _parameters(request: Request, refused: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the parameters of a request without the refused ones, or with their new names."""
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
    return {name: parameters[parameter] for parameter, name in names.items() if name is not None}


def _refused_parameter(failure: Failure, parameters: Iterable[str]) -> str | None:
    """Return the parameter of a request that the server refuses by name, or None."""
    is_refusal = failure.fault.startswith("http-") and failure.fault not in _FATAL | _AGAIN
    if not (is_refusal or failure.fault == "server-error"):
        return None
    return refused_parameter(failure.response or failure.detail, parameters)


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
