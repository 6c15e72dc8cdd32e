"""Rule extrapolation of any language model: asked by the protocol, compared with what needs no model."""

from __future__ import annotations

from .cache import AnswerCache
from .prompted import Prompted, requests_of
from .results import Condition, Decoded, TextEvaluation, read_evaluations
from .run import Estimate, TextRun, conditions_of
from .verdict import Difference, Verdict, judge, success

__all__ = [
    "AnswerCache",
    "Condition",
    "Decoded",
    "Difference",
    "Estimate",
    "Prompted",
    "TextEvaluation",
    "TextRun",
    "Verdict",
    "conditions_of",
    "judge",
    "read_evaluations",
    "requests_of",
    "success",
]
