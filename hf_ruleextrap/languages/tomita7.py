"""Tomita's seventh grammar: 0*1*0*1*."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, ends_with, in_blocks


class Tomita7(Regular):
    """0*1*0*1* with a 1 at the end.

    In the language: ``1``, ``0101``, ``1001``. Not: ``010`` (R1), ``10101`` (R2).

    The prompt ``1010`` breaks R2; ``10101`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 93 ID, 163 OOD).

    Source: Tomita, CogSci 1982; the first rule is ours.

    >>> lang = Tomita7()
    >>> lang.contains(["0101", "10101"]).tolist(), lang.viable(["10", "1010"]).tolist()
    ([True, False], [True, False])
    """

    name = "tomita7"
    summary = "0*1*0*1, at least one 1 at the end"
    tags = ("tomita", "star-free", "C-RASP")
    alphabet = ("0", "1")
    rules = (ends_with("1"), in_blocks("0", "1", "0", "1"))
