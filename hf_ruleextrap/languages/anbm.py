"""a^n b^m."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, ends_with, ordered


class AnBm(Regular):
    """{ a^n b^m : n, m >= 1 }: b last, and every a before every b.

    In the language: ``ab``, ``aaab``, ``abb``. Not: ``aa`` (R1), ``b`` (R2: it has no a), ``aba`` (both).

    The prompt ``ba`` breaks R2; ``bab`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 8 ID, 248 OOD).

    Source: an unused grammar of the authors' code, which generates it without rules; the two rules are ours.

    >>> lang = AnBm()
    >>> lang.contains(["abb", "aba"]).tolist(), lang.viable(["aa", "ba"]).tolist()
    ([True, False], [True, False])
    """

    name = "anbm"
    summary = "a^n b^m, n, m >= 1"
    tags = ("authors", "star-free", "C-RASP")
    alphabet = ("a", "b")
    rules = (ends_with("b"), ordered("a", "b", leading=True))
