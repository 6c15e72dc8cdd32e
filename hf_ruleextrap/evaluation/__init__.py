"""Completer x prompts: scored rows, a report, and chance beside it."""

from __future__ import annotations

from .evaluate import Evaluation, Evaluator, KindEvaluation, chance, score

__all__ = ["Evaluation", "Evaluator", "KindEvaluation", "chance", "score"]
