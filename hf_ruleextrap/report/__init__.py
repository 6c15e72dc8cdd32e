"""Report all runs of a study as tables, figures and one page."""

from __future__ import annotations

from .read import Study, read_study, text_rows
from .record import Run, rates_of
from .rows import Row, summarize
from .write import write_report

__all__ = ["Row", "Run", "Study", "rates_of", "read_study", "summarize", "text_rows", "write_report"]
