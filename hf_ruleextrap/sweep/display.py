"""What a sweep shows while it runs: a line for each event, and on a terminal what runs where and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .job import Job

# Rows of runs on a terminal; a cluster may have hundreds.
_ROWS = 12


class Display:
    """A context that shows how a sweep goes, on stderr.

    Args:
        total: cells.
        skipped: cells that had been done before.
        running: what runs, and since when (`time.monotonic`).
    """

    def __init__(self, total: int, skipped: int, running: Callable[[], list[tuple[Job, float]]]) -> None:
        self.total, self.finished, self.failed = total, skipped, 0
        self.running = running
        self.started, self.first = time.monotonic(), skipped
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.live = Live(console=self.console, get_renderable=self._screen, refresh_per_second=2, transient=True)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.live.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(line, markup=False)

    def ended(self, key: str, what: str, *, failed: bool) -> None:
        """A cell is through."""
        self.finished += 1
        self.failed += failed
        self.say(f"{key}: {what} | {self.summary()}")

    def summary(self) -> str:
        """How many are done, have failed, run; and the time left."""
        through = self.finished - self.first
        left = (time.monotonic() - self.started) / through * (self.total - self.finished) if through else None
        parts = [f"{self.finished - self.failed} of {self.total} done", f"{self.failed} failed"]
        parts.append(f"{len(self.running())} running")
        return ", ".join(parts + ([] if left is None else [f"about {duration(left)} left"]))

    def _screen(self) -> Text:
        running = self.running()
        rows = [
            f"  {job.key}  {job.where() or 'waits for its worker'}  {duration(time.monotonic() - since)}"
            for job, since in running[:_ROWS]
        ]
        more = [f"  and {len(running) - _ROWS} more"] if len(running) > _ROWS else []
        return Text("\n".join([self.summary(), *rows, *more]), no_wrap=True, overflow="ellipsis")


def duration(seconds: float) -> str:
    """A time in one unit or two.

    >>> duration(41.2), duration(1380), duration(9000)
    ('41 s', '23 min', '2 h 30 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
