"""The evaluation of completers on the prompts of a language, with references on the same prompts."""

from __future__ import annotations

from .evaluate import Evaluator, chance, score
from .references import REFERENCES
from .results import Condition, Evaluation, Outcome, read_evaluations

__all__ = ["REFERENCES", "Condition", "Evaluation", "Evaluator", "Outcome", "chance", "read_evaluations", "score"]
