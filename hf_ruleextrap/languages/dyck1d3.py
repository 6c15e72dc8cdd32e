"""Parentheses, at most three open."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, equal_counts, finite_automaton


class ShallowDyck(Regular):
    """Balanced ( ), and never more than three open at once: as many ( as ), and the depth stays within 0 and 3.

    In the language: ``()``, ``(())()``, ``((()))``. Not: ``(`` (R1), ``)(`` (R2), ``(((())))`` (R2).

    The prompt ``((((`` breaks R2; ``(((())))`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 34 ID, 222 OOD).

    Source: D_3 of Bhattamishra et al., EMNLP 2020, which is star-free; the bound as the rule to be broken is ours.

    >>> lang = ShallowDyck()
    >>> lang.contains(["(())", "(((())))"]).tolist(), lang.viable(["(((", "(((("]).tolist()
    ([True, False], [True, False])
    """

    name = "dyck1d3"
    summary = "balanced ( ), at most 3 open at once"
    tags = ("brackets", "star-free", "C-RASP")
    alphabet = ("(", ")")
    rules = (
        equal_counts("(", ")"),
        finite_automaton(
            "()",
            0,
            lambda depth, s: depth + 1 if s == "(" and depth < 3 else depth - 1 if s == ")" and depth > 0 else None,
            name="depth_within_3",
            summary="every ) closes an open (, and never more than 3 ( are open",
        ),
    )
