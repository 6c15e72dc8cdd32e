"""a^3n b^m."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, count_mod, ordered


class Mod3(Regular):
    """{ a^3n b^m : n + m >= 1 }: the number of a is a multiple of 3, and every a before every b.

    In the language: ``aaa``, ``b``, ``aaabb``. Not: ``aab`` (R1), ``baaa`` (R2).

    The prompt ``ba`` breaks R2; ``baaa`` keeps R1. The prompt ``ab`` leaves each rule viable, but not both at once.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 4 ID, 252 OOD).

    Source: counting modulo 3 as in Delétang et al., ICLR 2023; the second rule is ours.

    >>> lang = Mod3()
    >>> lang.contains(["aaab", "aab"]).tolist(), lang.viable(["aa", "ab"]).tolist()
    ([True, False], [True, False])
    """

    name = "mod3"
    summary = "a^3n b^m, n + m >= 1"
    alphabet = ("a", "b")
    rules = (count_mod("a", 3, 0), ordered("a", "b"))
