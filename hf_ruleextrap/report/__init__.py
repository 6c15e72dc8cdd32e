"""All runs of a study in one report: tables, figures, a page."""

from __future__ import annotations

from .rows import Row, summarize
from .write import write_report

__all__ = ["Row", "summarize", "write_report"]
