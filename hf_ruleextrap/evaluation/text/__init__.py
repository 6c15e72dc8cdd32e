"""Evaluate any language model by the text protocol: a main condition and its controls, as an `Evaluation`."""

from __future__ import annotations

from .prompted import AnswerCache, Prompted, requests_of
from .run import Estimate, TextRun, conditions_of

__all__ = ["AnswerCache", "Estimate", "Prompted", "TextRun", "conditions_of", "requests_of"]
