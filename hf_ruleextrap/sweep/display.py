"""The display of a running sweep: one line for each event, and on a terminal the running cells and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from hf_ruleextrap.costs import duration

from .job import Job

# The largest number of running cells shown on a terminal, because a cluster may run hundreds.
_ROWS = 12


class Display:
    """A context manager that shows the progress of a sweep on stderr.

    Args:
        total: The number of cells.
        skipped: The number of cells that were finished before the sweep started.
        running: A function that returns the running jobs with their start times (`time.monotonic`).
    """

    def __init__(self, total: int, skipped: int, running: Callable[[], list[tuple[Job, float]]]) -> None:
        self.total, self.finished, self.failed = total, skipped, 0
        self.running = running
        self.started, self.first = time.monotonic(), skipped
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.live = Live(console=self.console, get_renderable=self.screen, refresh_per_second=2, transient=True)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.live.stop()

    def say(self, line: str) -> None:
        """Print a line that stays on the screen."""
        self.console.print(line, markup=False)

    def ended(self, key: str, what: str, *, failed: bool) -> None:
        """Report that a cell has ended."""
        self.finished += 1
        self.failed += failed
        self.say(f"{key}: {what} | {self.summary()}")

    def summary(self) -> str:
        """Return the numbers of done, failed and running cells, and the time left."""
        ended = self.finished - self.first
        left = (time.monotonic() - self.started) / ended * (self.total - self.finished) if ended else None
        parts = [f"{self.finished - self.failed} of {self.total} done", f"{self.failed} failed"]
        parts.append(f"{len(self.running())} running")
        return ", ".join(parts + ([] if left is None else [f"about {duration(left)} left"]))

    def screen(self) -> Text:
        """Return the text of the terminal: the summary, and the running cells with their workers and times."""
        running = self.running()
        rows = [
            f"  {job.key}  {job.where() or 'waits for its worker'}  {duration(time.monotonic() - since)}"
            for job, since in running[:_ROWS]
        ]
        more = [f"  and {len(running) - _ROWS} more"] if len(running) > _ROWS else []
        return Text("\n".join([self.summary(), *rows, *more]), no_wrap=True, overflow="ellipsis")
