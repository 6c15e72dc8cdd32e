"""Completer x prompts: conditions with their rates, and the references beside each."""

from __future__ import annotations

from .evaluate import Evaluator, chance, score
from .references import REFERENCES
from .results import Condition, Evaluation, Outcome, read_evaluations

__all__ = ["REFERENCES", "Condition", "Evaluation", "Evaluator", "Outcome", "chance", "read_evaluations", "score"]
