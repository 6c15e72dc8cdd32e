"""Tomita's third grammar: once a run of 1 is odd, every later run of 0 is even."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, ends_with, finite_automaton

# The state after a 0 and after a 1. Once an odd run of 1 has ended, only the parity of the latest run of 0 matters.
FOLLOWING: dict[str, tuple[str, str | None]] = {
    "every run of 1 even": ("every run of 1 even", "run of 1 odd"),
    "run of 1 odd": ("then run of 0 odd", "every run of 1 even"),
    "then run of 0 odd": ("then run of 0 even", None),
    "then run of 0 even": ("then run of 0 odd", "then run of 0 even"),
}


class Tomita3(Regular):
    """Words over {0, 1} that end with 1, and in which no odd run of 0 stands anywhere after an odd run of 1.

    In the language: ``1``, ``1001``, ``1101``, ``01``. Not: ``100`` (R1), ``101`` (R2), ``1001101`` (R2: the first run
    of 1 is odd, and so is the last run of 0).

    The prompt ``101`` breaks R2 and keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 126 ID, 130 OOD).

    Source: Tomita, CogSci 1982, whose examples of words outside the language include ``0111001101``; the first rule is
    ours.

    >>> lang = Tomita3()
    >>> lang.contains(["1001", "101", "1001101"]).tolist(), lang.viable(["10", "101"]).tolist()
    ([True, False, False], [True, False])
    """

    name = "tomita3"
    summary = "ends with 1, no odd run of 0 anywhere after an odd run of 1"
    tags = ("tomita",)
    alphabet = ("0", "1")
    rules = (
        ends_with("1"),
        finite_automaton(
            "01",
            "every run of 1 even",
            lambda state, symbol: FOLLOWING[state][int(symbol or 0)],
            lambda state: state != "then run of 0 odd",
            name="no_odd_zeros_after_odd_ones",
            summary="no odd run of 0 anywhere after an odd run of 1",
        ),
    )
