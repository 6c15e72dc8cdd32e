"""Evaluate any language model by the text protocol: a main condition and its controls, as an `Evaluation`."""

from __future__ import annotations

from .cache import AnswerCache
from .prompted import Prompted, requests_of
from .run import Estimate, TextRun, conditions_of

__all__ = ["AnswerCache", "Estimate", "Prompted", "TextRun", "conditions_of", "requests_of"]
