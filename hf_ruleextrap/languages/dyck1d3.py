"""Parentheses, at most three open."""

from __future__ import annotations

from hf_ruleextrap.formal.patterns import most_open
from hf_ruleextrap.formal.regular import Regular
from hf_ruleextrap.formal.brackets import balanced


class ShallowDyck(Regular):
    """Balanced ( ), and never more than three open at once.

    In the language: ``()``, ``(())()``, ``((()))``. Not: ``(`` (R1), ``)(`` (R1), ``(((())))`` (R2).

    The prompt ``((((`` breaks R2; ``(((())))`` keeps R1.

    Sampler: length uniform among those that words have, then every word of it equally likely. Prompts: all strings of a
    length (8: 34 ID, 222 OOD).

    Source: D_3 of Bhattamishra et al., EMNLP 2020, which is star-free; the bound as the rule to be broken is ours.

    >>> lang = ShallowDyck()
    >>> lang.contains(["(())", "(((())))"]).tolist(), lang.viable(["(((", "(((("]).tolist()
    ([True, False], [True, False])
    """

    name = "dyck1d3"
    summary = "balanced ( ), at most 3 open at once"
    tags = ("brackets", "star-free", "C-RASP")
    alphabet = ("(", ")")
    rules = (balanced("(", ")"), most_open(3, "()"))
