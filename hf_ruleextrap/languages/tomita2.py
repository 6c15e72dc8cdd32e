"""Tomita's second grammar: (10)*."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, alternating, ends_with


class Tomita2(Regular):
    """(10)* without the empty word: it ends with 0, and 1 and 0 alternate, 1 first.

    In the language: ``10``, ``1010``. Not: ``101`` (R1), ``0`` (R2).

    The prompt ``11`` breaks R2; ``110`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 1 ID, 255 OOD).

    Source: Tomita, CogSci 1982; the cut into two rules is ours.

    >>> lang = Tomita2()
    >>> lang.contains(["1010", "101"]).tolist(), lang.viable(["101", "11"]).tolist()
    ([True, False], [True, False])
    """

    name = "tomita2"
    summary = "(10)^n, n >= 1"
    tags = ("tomita", "star-free", "C-RASP")
    alphabet = ("0", "1")
    rules = (ends_with("0"), alternating("1", "0"))
    one_word_per_length = True
