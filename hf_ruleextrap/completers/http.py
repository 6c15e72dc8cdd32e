"""Send POST requests with httpx, each with a deadline for the whole request, a size limit, and no redirects."""

from __future__ import annotations

import base64
import email.utils
import math
import os
import queue
import re
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from typing import TypeVar

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from hf_ruleextrap.errors import RuleExtrapError

from .reading import Failure

_MOST_BYTES = 1 << 24
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def checked_url(text: str) -> str:
    """Return a URL that is safe to send a key to and to store in results.

    Raises:
        RuleExtrapError: If the text is not a URL, or if it holds more than a host and a path (such as a password).
    """
    try:
        parts = urllib.parse.urlsplit(text)
        host, _ = parts.hostname, parts.port
        httpx.URL(text)
    except (ValueError, httpx.InvalidURL):
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise RuleExtrapError("the base URL is not a URL: give one such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise RuleExtrapError(
            f"the base URL of {host} holds a user, a password or a query: put the key in an environment variable"
        )
    return text


def client(connections: int) -> httpx.AsyncClient:
    """Return a client that keeps its connections open and uses the proxy that the environment names.

    The client has no time limit, because `post` limits the time of each whole request.

    Raises:
        RuleExtrapError: If the proxy that the environment names cannot be used.
    """
    try:
        return httpx.AsyncClient(
            timeout=None,
            follow_redirects=False,
            # A compressed response could exceed the size limit after decompression.
            headers={"Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )
    except (ValueError, ImportError, httpx.InvalidURL, OSError) as error:
        reason = redacted(str(error), proxy_secrets())
        raise RuleExtrapError(
            f"the proxy or the certificates that the environment names cannot be used: {reason}"
        ) from None


def in_parallel(
    items: Iterable[_Item], ask: Callable[[httpx.AsyncClient, _Item], Awaitable[_Result]], *, connections: int
) -> Generator[tuple[int, _Result]]:
    """Send the requests for several items at a time. No request is sent after the caller stops iterating.

    A connection starts its next item after the caller has taken the connection's last result and requested another. If
    the process of a caller that stores each result is killed, only the results of the items in progress are lost.

    Args:
        items: The items. An item is taken when a connection is free.
        ask: The function that sends the requests for an item and returns the result.
        connections: The largest number of items at a time.

    Yields:
        The index of each item and its result, as soon as the result arrives.
    """
    arrived: queue.SimpleQueue[tuple[int, _Result, anyio.Event] | None] = queue.SimpleQueue()
    waiting = iter(enumerate(items))

    async def work(shared_client: httpx.AsyncClient) -> None:
        for place, item in waiting:
            taken = anyio.Event()
            arrived.put((place, await ask(shared_client, item), taken))
            await taken.wait()

    async def work_all() -> None:
        try:
            async with client(connections) as shared_client, anyio.create_task_group() as group:
                for _ in range(connections):
                    group.start_soon(work, shared_client)
        finally:
            arrived.put(None)

    with start_blocking_portal() as portal:
        task = portal.start_task_soon(work_all)
        while (arrival := arrived.get()) is not None:
            place, result, taken = arrival
            yield place, result
            portal.start_task_soon(taken.set)
        # This raises the exception of the background task, if there is one.
        task.result()


async def post(
    client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str], *, timeout: float
) -> bytes:
    """Send JSON and read the response.

    Args:
        client: The client of `client`.
        url: The address.
        body: The JSON text to send.
        headers: The headers besides the content type.
        timeout: The number of seconds for the whole request: name resolution, connection, headers and content.

    Raises:
        Failure: If the status is not 200, if there is no connection, or if the time limit is reached.
    """
    try:
        with anyio.fail_after(timeout):
            all_headers = {"Content-Type": "application/json", **headers}
            async with client.stream("POST", url, content=body, headers=all_headers) as response:
                content = await _content(response)
    except TimeoutError:
        raise Failure("timeout", f"no response within {timeout:g} seconds") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # If a proxy refuses a tunnel, the error holds the status, because there is no response.
        refused = re.match(r"(\d{3})\b", str(error)) if isinstance(error, httpx.ProxyError) else None
        fault = f"http-{refused[1]}" if refused else "no-connection"
        raise Failure(fault, _reason(error)) from None
    if response.status_code != 200:
        message = content.decode("utf-8", "replace")
        raise Failure(f"http-{response.status_code}", message, _retry_after(response.headers.get("Retry-After")))
    return content


def _reason(error: BaseException) -> str:
    """Return the name and the message of the original cause of an error of the library."""
    while True:
        inner: tuple[BaseException, ...] = getattr(error, "exceptions", ())
        cause = inner[0] if inner else error.__cause__ or error.__context__
        if cause is None:
            break
        error = cause
    # asyncio replaces the system's message by "Connect call failed".
    known = isinstance(error, OSError) and (error.errno or 0) > 0
    return f"{type(error).__name__}: {os.strerror(error.errno) if known else error}"  # type: ignore[attr-defined]


async def _content(response: httpx.Response) -> bytes:
    content = bytearray()
    try:
        async for chunk in response.aiter_raw(1 << 16):
            content += chunk
            if len(content) > _MOST_BYTES:
                raise Failure("too-large", f"the response is larger than {_MOST_BYTES:,} bytes")
    except httpx.RemoteProtocolError:
        raise Failure("bad-json", "the response ends too early") from None
    return bytes(content)


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a diagnostic text without secrets, in each form in which a server or a library may repeat a secret."""
    forms = {form for secret in secrets for form in (secret, urllib.parse.quote(secret, safe=""))}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "[key]")
    return text


def proxy_secrets() -> list[str]:
    """Return the passwords of the proxies in the environment, and the credentials in the form of the request header."""
    secrets: list[str] = []
    for name in (*_PROXIES, *map(str.upper, _PROXIES)):
        try:
            parts = urllib.parse.urlsplit(os.environ.get(name, ""))
        except ValueError:
            continue
        if parts.password:
            user, password = urllib.parse.unquote(parts.username or ""), urllib.parse.unquote(parts.password)
            secrets += [parts.password, password, base64.b64encode(f"{user}:{password}".encode()).decode()]
    return secrets


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of the Retry-After header, which is a number or a date; None if it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)
