"""What work costs is estimated before it starts; work beyond the limits is refused unless it was allowed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import RuleExtrapError

MOST_BYTES = 4 << 30
"""Memory that one piece of work may take without leave: 4 GiB."""

MOST_SECONDS = 600.0
"""Time that one piece of work may take without leave: ten minutes."""

_allowed: ContextVar[bool] = ContextVar("allowed", default=False)


@contextmanager
def any_cost(allowed: bool = True) -> Iterator[None]:
    """Let the work inside cost what it costs; ``--yes`` on the command line does the same."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def check_cost(work: str, advice: str, *, size: float = 0, seconds: float = 0) -> None:
    """Refuse work that is estimated to cost more than the limits.

    Args:
        work: the work, as the subject of the message.
        advice: what to give instead, with the nearest value that works.
        size: estimated bytes of memory.
        seconds: estimated time on one core.

    Raises:
        RuleExtrapError: the estimate is above `MOST_BYTES` or `MOST_SECONDS`, and no `any_cost` allows it.

    >>> check_cost("reading 9 books", "read 2", seconds=9e9)
    Traceback (most recent call last):
    hf_ruleextrap.errors.RuleExtrapError: reading 9 books would take about 285 years: read 2, or allow it with --yes
    """
    if _allowed.get():
        return
    if size > MOST_BYTES:
        raise RuleExtrapError(f"{work} would take {_bytes(size)} of memory: {advice}, or allow it with --yes")
    if seconds > MOST_SECONDS:
        raise RuleExtrapError(f"{work} would take about {_time(seconds)}: {advice}, or allow it with --yes")


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
