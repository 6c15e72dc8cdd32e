"""Balanced parentheses."""

from __future__ import annotations

from hf_ruleextrap.formal import Language, closes_open, equal_counts


class Parentheses(Language):
    """Balanced ( ) (Dyck words of one kind): as many ( as ), and every ) closes an open (.

    In the language: ``()``, ``(())()``. Not: ``(`` (R1), ``)(`` (R2).

    The prompt ``)`` breaks R2; ``)(`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 70 ID, 186 OOD).

    Source: a grammar of the authors' code whose rules are not evaluated there; the cut into two rules is ours.

    >>> lang = Parentheses()
    >>> lang.contains(["()", ")("]).tolist(), lang.viable(["(", ")"]).tolist()
    ([True, False], [True, False])
    """

    name = "parentheses"
    summary = "balanced ( )"
    level = "deterministic context-free"
    tags = ("authors", "brackets", "one-counter", "C-RASP")
    alphabet = ("(", ")")
    rules = (equal_counts("(", ")"), closes_open("(", ")"))
