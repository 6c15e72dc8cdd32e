"""One POST with the standard library: a deadline, a limit on what is read, and no redirect to take a key along."""

from __future__ import annotations

import email.utils
import http.client
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from hf_ruleextrap.errors import RuleExtrapError

_MOST_BYTES = 1 << 24


@dataclass
class Failure(Exception):
    """No usable response.

    Attributes:
        fault: one word: ``http-500``, ``timeout``, ``no-connection``, ``bad-json``, ``no-choice``.
        detail: a text to be read; a server may have written it, so it can hold anything.
        retry_after: seconds after which the server wants to be asked again.
    """

    fault: str
    detail: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Url:
    """Where to post to."""

    secure: bool
    host: str
    port: int | None
    path: str

    @classmethod
    def of(cls, text: str) -> Url:
        """Read a URL.

        Raises:
            RuleExtrapError: it is none, or has more than a host and a path (such as a password).
        """
        try:
            parts = urllib.parse.urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme not in ("http", "https"):
            raise RuleExtrapError("the base URL is none: give one such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise RuleExtrapError(
                f"the base URL of {host} holds a user, a password or a query: a key belongs into the environment"
            )
        return cls(parts.scheme == "https", host, port, parts.path)


def post(url: Url, body: bytes, headers: Mapping[str, str], *, timeout: float) -> bytes:
    """Send JSON and read the response.

    Args:
        url: where to.
        body: JSON.
        headers: besides the content's type.
        timeout: seconds for all of it.

    Raises:
        Failure: any status but 200, no connection, or too late.
    """
    deadline = time.monotonic() + timeout
    connection = _connection(url, timeout)
    try:
        connection.request("POST", url.path, body, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        read = bytearray()
        while chunk := response.read1(1 << 16):
            read += chunk
            if time.monotonic() > deadline:
                raise TimeoutError
            if len(read) > _MOST_BYTES:
                raise Failure("too-large", f"the response is larger than {_MOST_BYTES:,} bytes")
        if response.length:
            raise Failure("bad-json", "the response ends too early")
    except TimeoutError:
        raise Failure("timeout", f"no response within {timeout:g} seconds") from None
    except http.client.IncompleteRead:
        raise Failure("bad-json", "the response ends too early") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failure("no-connection", f"{type(error).__name__}: {error}") from None
    finally:
        connection.close()
    if response.status != 200:
        said = bytes(read).decode("utf-8", "replace")
        raise Failure(f"http-{response.status}", said, _retry_after(response.getheader("Retry-After")))
    return bytes(read)


def _connection(url: Url, timeout: float) -> http.client.HTTPConnection:
    """To the host, or through the proxy that the environment names."""
    scheme = "https" if url.secure else "http"
    proxy = None if urllib.request.proxy_bypass(url.host) else urllib.request.getproxies().get(scheme)
    made = http.client.HTTPSConnection if url.secure else http.client.HTTPConnection
    if proxy is None:
        return made(url.host, url.port, timeout=timeout)
    through = urllib.parse.urlsplit(proxy)
    connection = made(through.hostname or "", through.port, timeout=timeout)
    connection.set_tunnel(url.host, url.port or (443 if url.secure else 80))
    return connection


def _retry_after(value: str | None) -> float | None:
    """Seconds, given as a number or as a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
