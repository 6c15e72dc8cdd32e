"""The mathematics of rule extrapolation: words, rules, languages, prompts, scoring and chance. It needs only NumPy."""

from __future__ import annotations

from .automata import (
    alternating,
    at_least,
    at_most,
    count_mod,
    ends_with,
    exactly_one,
    finite_automaton,
    group_word,
    has_factor,
    in_blocks,
    length_mod,
    most_open,
    no_factor,
)
from .brackets import balanced, closes_open, nested
from .counting import WordCounts
from .expectation import chance, chance_by_prompt
from .families import EqualBlocks, Marked, Regular, copied
from .graph import Graph, explore
from .intervals import Clusters, Rate, difference_interval
from .language import LEVELS, Language, Level
from .machine import Conjunction, Machine
from .measures import Complexity, complexity
from .optimal import adversary, ceiling, oracle
from .pairs import MinimalPair, RulePairs, breaks_alone, minimal_pairs
from .posterior import HypothesisSpace, RationalSettings
from .prompts import Kind, Prompt, PromptSet
from .rational import RationalLearner, rational_learner
from .rational_report import Explanation, expected_report, explain
from .rules import Rule, equal_counts, equal_sums, even_count, more, ordered, starts_with
from .scoring import Report, Verdicts, aggregate, score
from .sources import Source, always_stop, ngram, uniform
from .words import WordBatch

__all__ = [
    "LEVELS",
    "Clusters",
    "Complexity",
    "Conjunction",
    "EqualBlocks",
    "Explanation",
    "Graph",
    "HypothesisSpace",
    "Kind",
    "Language",
    "Level",
    "Machine",
    "Marked",
    "MinimalPair",
    "Prompt",
    "PromptSet",
    "Rate",
    "RationalLearner",
    "RationalSettings",
    "Regular",
    "Report",
    "Rule",
    "RulePairs",
    "Source",
    "Verdicts",
    "WordBatch",
    "WordCounts",
    "adversary",
    "aggregate",
    "alternating",
    "always_stop",
    "at_least",
    "at_most",
    "balanced",
    "breaks_alone",
    "ceiling",
    "chance",
    "chance_by_prompt",
    "closes_open",
    "complexity",
    "copied",
    "count_mod",
    "difference_interval",
    "ends_with",
    "equal_counts",
    "equal_sums",
    "even_count",
    "exactly_one",
    "expected_report",
    "explain",
    "explore",
    "finite_automaton",
    "group_word",
    "has_factor",
    "in_blocks",
    "length_mod",
    "minimal_pairs",
    "more",
    "most_open",
    "nested",
    "ngram",
    "no_factor",
    "oracle",
    "ordered",
    "rational_learner",
    "score",
    "starts_with",
    "uniform",
]
