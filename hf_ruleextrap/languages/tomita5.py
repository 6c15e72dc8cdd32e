"""Tomita's fifth grammar: an even number of 0 and of 1."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, finite_automaton, starts_with


class Tomita5(Regular):
    """Words over {0, 1} with an even number of 0 and an even number of 1, and 1 first.

    In the language: ``11``, ``1010``. Not: ``10`` (R1), ``00`` (R2).

    The prompt ``01`` breaks R2; ``0110`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 128 ID, 128 OOD).

    Source: Tomita, CogSci 1982; the second rule is ours, since Tomita's rule alone has no OOD prompts.

    >>> lang = Tomita5()
    >>> lang.contains(["1010", "10"]).tolist(), lang.viable(["10", "0"]).tolist()
    ([True, False], [True, False])
    """

    name = "tomita5"
    summary = "an even number of 0 and of 1, 1 first"
    tags = ("tomita",)
    alphabet = ("0", "1")
    rules = (
        finite_automaton(
            "01",
            (0, 0),
            lambda odd, s: (odd[0] ^ (s == "0"), odd[1] ^ (s == "1")),
            lambda odd: odd == (0, 0),
            name="even_zeros_even_ones",
            summary="an even number of 0 and an even number of 1",
        ),
        starts_with("1"),
    )
