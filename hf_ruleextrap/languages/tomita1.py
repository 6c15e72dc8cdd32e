"""Tomita's first grammar: 1*."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, ends_with, no_factor


class Tomita1(Regular):
    """1* without the empty word: it ends with 1, and has no 0.

    In the language: ``1``, ``11``. Not: ``0`` (both), ``01`` (R2).

    The prompt ``0`` breaks R2; ``01`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 1 ID, 255 OOD).

    Source: Tomita, CogSci 1982; the first rule is ours. Every word without 0 keeps it.

    >>> lang = Tomita1()
    >>> lang.contains(["11", "10"]).tolist(), lang.viable(["1", "01"]).tolist()
    ([True, False], [True, False])
    """

    name = "tomita1"
    summary = "1^n, n >= 1"
    tags = ("tomita", "star-free", "C-RASP")
    alphabet = ("0", "1")
    rules = (ends_with("1"), no_factor("0"))
    one_word_per_length = True
