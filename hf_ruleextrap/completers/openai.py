"""Any server that speaks OpenAI's protocol: ``/completions`` for texts, ``/chat/completions`` for conversations."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.words import FloatArray

from .base import Abilities, Answer, Backend, Request
from .http import Failure, Url, post
from .replay import as_json

DEFAULT_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"

# No answer needs more: longer ones are unfinished or unparsable in their first characters already.
_MOST_TEXT = 16_384
# So many failed requests in a row, and the rest is not sent.
_MOST_IN_A_ROW = 10
_MOST_WAIT = 60.0
# Sending again cannot help, for this request or any other.
_FATAL = {"http-401", "http-403", "http-404"}
_AGAIN = {"http-408", "http-409", "http-429", "bad-json", "no-choice", "no-connection", "timeout"}


class OpenAICompleter:
    """Sends requests, several at once; what fails is sent again within bounds, or comes back with its fault."""

    abilities = Abilities(plain=True, chat=True, sampling=True, log_probabilities=False)

    def __init__(self, backend: Backend) -> None:
        """Read the key from the environment; nothing is sent.

        Raises:
            RuleExtrapError: a URL that is none, or no key in the variable that was named.
        """
        self.backend = backend
        base = (backend.base_url or DEFAULT_URL).rstrip("/")
        self.urls = {chat: Url.of(f"{base}/{'chat/' if chat else ''}completions") for chat in (False, True)}
        self._key = _key(backend)
        self.identity: dict[str, Any] = {"backend": "openai", "model": backend.model, "base_url": base}
        self._failed_in_a_row = 0
        self._lock = threading.Lock()

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """See `TextCompleter.answers`."""
        over = threading.Event()
        with ThreadPoolExecutor(self.backend.concurrency) as pool:
            try:
                sent = {pool.submit(self._answer, request, over): place for place, request in enumerate(requests)}
                for done in as_completed(sent):
                    yield sent[done], done.result()
            finally:
                # Whoever stops listening pays for no further request.
                over.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def encode(self, text: str) -> None:
        """Not known."""
        del text

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Not known; see `abilities`: servers differ in what they call log-probabilities."""
        return np.full(len(pairs), np.nan)

    def _answer(self, request: Request, over: threading.Event) -> Answer:
        if self._failed_in_a_row >= _MOST_IN_A_ROW:
            return Answer("", False, "not-sent", "too many requests before it failed")
        answer = self._with_retries(request, over)
        with self._lock:
            if not answer.fault:
                self._failed_in_a_row = 0
            else:
                self._failed_in_a_row += _MOST_IN_A_ROW if answer.fault in _FATAL else 1
        # A cut could leave a part of the key, which would not be found.
        text, detail = self._safe(answer.text), self._safe(answer.detail)
        return replace(answer, text=text[:_MOST_TEXT], detail=_one_line(detail))

    def _with_retries(self, request: Request, over: threading.Event) -> Answer:
        for attempt in range(self.backend.retries + 1):
            found = self._once(request)
            if isinstance(found, Answer):
                return found
            again = found.fault in _AGAIN or found.fault.startswith("http-5")
            if not again or attempt == self.backend.retries:
                break
            wait = self.backend.back_off * 2**attempt if found.retry_after is None else found.retry_after
            if over.wait(min(wait, _MOST_WAIT)):
                break
        return Answer("", False, found.fault, found.detail)

    def _once(self, request: Request) -> Answer | Failure:
        try:
            return _read(self._send(request), request.chat)
        except Failure as failure:
            return failure

    def _send(self, request: Request) -> bytes:
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
        return post(self.urls[request.chat], json.dumps(body).encode(), headers, timeout=self.backend.timeout)

    def _safe(self, text: str) -> str:
        """A server may say the key; it goes no further."""
        return text.replace(self._key, "[key]") if self._key else text

    def __repr__(self) -> str:
        return f"OpenAICompleter({self.identity['model']!r} at {self.identity['base_url']})"


def _key(backend: Backend) -> str:
    """The key in the environment, or nothing (a server of one's own needs none)."""
    variable = backend.key_env or KEY_VARIABLE
    key = os.environ.get(variable, "").strip()
    if backend.key_env and not key:
        raise RuleExtrapError(f"the environment variable {variable} holds no key: set it, or leave out --key-env")
    # An error of the HTTP library would quote it.
    if re.search(r"[^\x21-\x7e]", key):
        raise RuleExtrapError(f"the key in {variable} has spaces or characters outside ASCII: set it again")
    return key


def _read(body: bytes, chat: bool) -> Answer:
    """The first choice of a response; everything in it is data."""
    try:
        response = json.loads(body)
        choices = response["choices"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Failure("bad-json", body.decode("utf-8", "replace")) from None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Failure("no-choice", "the response has no choice in it")
    choice = choices[0]
    message = choice.get("message") if chat else choice
    found = message if isinstance(message, dict) else {}
    text = found.get("content" if chat else "text")
    # A refusal has a field of its own with some servers; it is an answer, and no symbols.
    text = found.get("refusal") if text is None else text
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        return Answer("", False, "content-filter", "the server withheld the answer")
    if not isinstance(text, str):
        raise Failure("no-choice", "the choice has no text in it")
    return Answer(text, ended=reason != "length")


def _one_line(text: str) -> str:
    """What a server says, without line breaks and control characters, and short."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:200]).strip()
