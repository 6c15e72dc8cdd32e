"""The mathematics: words, rules, languages, prompts, scoring and chance. NumPy only."""

from __future__ import annotations

from .automata import ends_with, finite_automaton
from .brackets import balanced, nested
from .chance import chance
from .counting import WordCounts
from .finite import at_least, at_most, count_mod, has_factor, length_mod, no_factor
from .graph import Graph, explore
from .language import Language
from .machine import Machine
from .oracle import adversary, oracle
from .prompts import Kind, Prompt, PromptSet
from .rules import Conjunction, Rule, equal_counts, even_count, ordered, starts_with
from .scoring import Rate, Report, Verdicts, aggregate, score
from .sources import Source, always_stop, ngram, uniform
from .words import WordBatch

__all__ = [
    "Conjunction",
    "Graph",
    "Kind",
    "Language",
    "Machine",
    "Prompt",
    "PromptSet",
    "Rate",
    "Report",
    "Rule",
    "Source",
    "Verdicts",
    "WordBatch",
    "WordCounts",
    "adversary",
    "aggregate",
    "always_stop",
    "at_least",
    "at_most",
    "balanced",
    "chance",
    "count_mod",
    "ends_with",
    "equal_counts",
    "even_count",
    "explore",
    "finite_automaton",
    "has_factor",
    "length_mod",
    "nested",
    "ngram",
    "no_factor",
    "oracle",
    "ordered",
    "score",
    "starts_with",
    "uniform",
]
