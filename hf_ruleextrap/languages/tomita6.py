"""Tomita's sixth grammar: 1 less 0 is a multiple of 3."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, finite_automaton, starts_with


class Tomita6(Regular):
    """Words over {0, 1} in which the number of 1 less that of 0 is a multiple of 3, and 1 first.

    In the language: ``10``, ``111``. Not: ``11`` (R1), ``01`` (R2).

    The prompt ``0`` breaks R2; ``01`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 128 ID, 128 OOD).

    Source: Tomita, CogSci 1982; the second rule is ours, since Tomita's rule alone has no OOD prompts.

    >>> lang = Tomita6()
    >>> lang.contains(["111", "11"]).tolist(), lang.viable(["11", "0"]).tolist()
    ([True, False], [True, False])
    """

    name = "tomita6"
    summary = "the number of 1 less that of 0 is a multiple of 3, 1 first"
    tags = ("tomita",)
    alphabet = ("0", "1")
    rules = (
        finite_automaton(
            "01",
            0,
            lambda surplus, s: (surplus + (s == "1") - (s == "0")) % 3,
            lambda surplus: surplus == 0,
            name="ones_less_zeros_modulo_3",
            summary="the number of 1 less that of 0 is a multiple of 3",
        ),
        starts_with("1"),
    )
