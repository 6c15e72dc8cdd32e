"""Refuse work whose estimated cost is above the limits, unless the user allows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import RuleExtrapError

MOST_BYTES = 4 << 30
"""The largest amount of memory that work may take without ``--yes``: 4 GiB."""

MOST_SECONDS = 600.0
"""The longest time that work may take without ``--yes``: ten minutes."""

_allowed: ContextVar[bool] = ContextVar("allowed", default=False)


@contextmanager
def any_cost(allowed: bool = True) -> Iterator[None]:
    """Allow any cost inside the context, as ``--yes`` does on the command line."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def is_any_cost_allowed() -> bool:
    """Return whether any cost is allowed here. A worker in another process receives the answer from its parent."""
    return _allowed.get()


def check_cost(work: str, advice: str, *, size: float = 0, seconds: float = 0) -> None:
    """Refuse work whose estimated cost is above the limits.

    Args:
        work: A phrase for the work, which is the subject of the message.
        advice: A phrase that says what to do instead, with the nearest value that is allowed.
        size: The estimated memory in bytes.
        seconds: The estimated time in seconds on one core.

    Raises:
        RuleExtrapError: If the estimate is above `MOST_BYTES` or `MOST_SECONDS`, outside the context of `any_cost`.

    >>> check_cost("reading 9 books", "read 2", seconds=9e9)
    Traceback (most recent call last):
    hf_ruleextrap.errors.RuleExtrapError: reading 9 books would take about 285 years: read 2, or allow this with --yes
    """
    if _allowed.get():
        return
    if size > MOST_BYTES:
        raise RuleExtrapError(f"{work} would take {_bytes(size)} of memory: {advice}, or allow this with --yes")
    if seconds > MOST_SECONDS:
        raise RuleExtrapError(f"{work} would take about {_time(seconds)}: {advice}, or allow this with --yes")


def _bytes(size: float) -> str:
    for unit in ("KB", "MB", "GB", "TB", "PB"):
        size /= 1000
        if size < 1000:
            return f"about {size:.3g} {unit}"
    return "more than 1,000 PB"


def _time(seconds: float) -> str:
    for unit, length in (("years", 365.25 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} seconds"


def duration(seconds: float) -> str:
    """Format a time in one or two units.

    >>> duration(41.2), duration(1380), duration(9000)
    ('41 s', '23 min', '2 h 30 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
