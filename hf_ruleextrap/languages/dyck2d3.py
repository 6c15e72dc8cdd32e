"""Nested parentheses and brackets, at most three open."""

from __future__ import annotations

from hf_ruleextrap.formal import Language, most_open, nested


class BoundedDyck(Language):
    """Properly nested ( ) and [ ], and never more than three open at once (Dyck-(2, 3)).

    In the language: ``([])``, ``()[]``, ``([()])``. Not: ``([)]`` (R1), ``((([])))`` (R2).

    The prompt ``([([`` breaks R2; ``([([])])`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length that leave R1 viable (5: 88 ID, 48 OOD).

    Source: Dyck-(k, m) of Hewitt et al., EMNLP 2020; the bound as the rule to be broken is ours.

    >>> lang = BoundedDyck()
    >>> lang.contains(["([])", "([)]"]).tolist(), lang.viable(["([(", "([(["]).tolist()
    ([True, False], [True, False])
    """

    name = "dyck2d3"
    summary = "properly nested ( ) and [ ], at most 3 open at once"
    level = "regular"
    tags = ("brackets", "star-free")
    alphabet = ("(", ")", "[", "]")
    rules = (nested("()", "[]"), most_open(3, "()", "[]"))
    require_r1_viable = True
    prompt_length = 5
