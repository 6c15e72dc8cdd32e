"""(ab)^n."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, alternating, equal_counts


class AbN(Regular):
    """{ (ab)^n : n >= 1 }: as many a as b, and they alternate, a first.

    In the language: ``ab``, ``abab``. Not: ``aba`` (R1), ``ba`` (R2), ``aabb`` (R2).

    The prompt ``ba`` breaks R2 and keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 1 ID, 255 OOD).

    Source: an unused grammar of the authors' code, which generates it without rules; the two rules are ours.

    >>> lang = AbN()
    >>> lang.contains(["abab", "ba"]).tolist(), lang.viable(["aba", "abb"]).tolist()
    ([True, False], [True, False])
    """

    name = "abn"
    summary = "(ab)^n, n >= 1"
    tags = ("authors", "star-free", "C-RASP")
    alphabet = ("a", "b")
    rules = (equal_counts("a", "b"), alternating("a", "b"))
    one_word_per_length = True
