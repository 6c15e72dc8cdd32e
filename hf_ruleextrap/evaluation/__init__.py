"""Completer x prompts: scored rows, a report, and chance beside it."""

from __future__ import annotations

from .evaluate import REFERENCES, Evaluation, Evaluator, KindEvaluation, chance, score

__all__ = ["REFERENCES", "Evaluation", "Evaluator", "KindEvaluation", "chance", "score"]
