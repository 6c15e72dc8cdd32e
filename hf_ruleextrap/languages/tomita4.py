"""Tomita's fourth grammar: no 000."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, ends_with, no_factor


class Tomita4(Regular):
    """Words over {0, 1} that end with 1 and never have three 0 in a row.

    In the language: ``1``, ``001``. Not: ``10`` (R1), ``0001`` (R2).

    The prompt ``0001`` breaks R2 and keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 149 ID, 107 OOD).

    Source: Tomita, CogSci 1982; the first rule is ours.

    >>> lang = Tomita4()
    >>> lang.contains(["001", "0001"]).tolist(), lang.viable(["00", "000"]).tolist()
    ([True, False], [True, False])
    """

    name = "tomita4"
    summary = "ends with 1, no 000"
    tags = ("tomita", "star-free")
    alphabet = ("0", "1")
    rules = (ends_with("1"), no_factor("000"))
