"""An even number of 1, and no two 0 in a row."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, even_count, no_factor


class Parity(Regular):
    """Words over {0, 1} with an even number of 1, and no two 0 in a row.

    In the language: ``11``, ``0``, ``101``. Not: ``10`` (R1), ``00`` (R2).

    The prompt ``1001`` breaks R2 and keeps R1; so does ``001`` with one more 1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 55 ID, 201 OOD).

    Source: the parity of Hahn, TACL 2020; the second rule is ours, since parity alone has no OOD
    prompts.

    >>> lang = Parity()
    >>> lang.contains(["101", "10"]).tolist(), lang.viable(["10", "100"]).tolist()
    ([True, False], [True, False])
    """

    name = "parity"
    summary = "an even number of 1, no two 0 in a row"
    alphabet = ("0", "1")
    rules = (even_count("1"), no_factor("00"))
