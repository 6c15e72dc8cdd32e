"""Tomita's third grammar: no odd run of 0 after an odd run of 1."""

from __future__ import annotations

from hf_ruleextrap.formal.automata import ends_with, finite_automaton
from hf_ruleextrap.formal.regular import Regular

# Where a run of 0 and one of 1 lead: after an even run of 1, after an odd one, and then within the run of 0.
RUNS: dict[str, tuple[str, str | None]] = {
    "even": ("even", "odd"),
    "odd": ("odd, odd", "even"),
    "odd, odd": ("odd, even", None),
    "odd, even": ("odd, odd", "odd"),
}


class Tomita3(Regular):
    """Words over {0, 1} that end with 1, and in which no odd run of 0 follows an odd run of 1.

    In the language: ``1``, ``1001``, ``1101``. Not: ``100`` (R1), ``101`` (R2).

    The prompt ``101`` breaks R2 and keeps R1.

    Sampler: length uniform among those that words have, then every word of it equally likely. Prompts: all strings of a
    length (8: 129 ID, 127 OOD).

    Source: Tomita, CogSci 1982; the first rule is ours.

    >>> lang = Tomita3()
    >>> lang.contains(["1001", "101"]).tolist(), lang.viable(["10", "101"]).tolist()
    ([True, False], [True, False])
    """

    name = "tomita3"
    summary = "ends with 1, no odd run of 0 after an odd run of 1"
    tags = ("tomita",)
    alphabet = ("0", "1")
    rules = (
        ends_with("1"),
        finite_automaton(
            "01",
            "even",
            lambda state, symbol: RUNS[state][int(symbol or 0)],
            lambda state: state != "odd, odd",
            name="no_odd_zeros_after_odd_ones",
            summary="no odd run of 0 after an odd run of 1",
        ),
    )
