"""The mathematics: words, rules, languages, prompts, scoring and chance. NumPy only."""

from __future__ import annotations

from .chance import chance, draw_uniform
from .language import Language
from .prompts import Kind, Prompt, PromptSet
from .rules import (
    Conjunction,
    Machine,
    Rule,
    balanced,
    equal_counts,
    even_count,
    nested,
    ordered,
    starts_with,
)
from .scoring import Rate, Report, Verdicts, aggregate, score
from .words import WordBatch

__all__ = [
    "Conjunction",
    "Kind",
    "Language",
    "Machine",
    "Prompt",
    "PromptSet",
    "Rate",
    "Report",
    "Rule",
    "Verdicts",
    "WordBatch",
    "aggregate",
    "balanced",
    "chance",
    "draw_uniform",
    "equal_counts",
    "even_count",
    "nested",
    "ordered",
    "score",
    "starts_with",
]
