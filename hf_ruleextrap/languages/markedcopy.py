"""w # w."""

from __future__ import annotations

from hf_ruleextrap.formal import Marked, copied, exactly_one


class MarkedCopy(Marked):
    """{ w # w : w over {a, b} }.

    A copy of the symbols before the first # follows the last #, and there is exactly one #.

    In the language: ``#``, ``a#a``, ``ab#ab``. Not: ``ab#ba`` (R1), ``a#b#a`` (R2).

    The prompt ``ab#b#`` breaks R2; ``ab#b#ab`` keeps R1. The prompt ``ab#b`` leaves each rule viable, but not both at
    once.

    Sampler: the length of w is uniform on {0, …, (max_length - 1) // 2}, and each symbol of w is uniform. Prompts: all
    strings of one length (5: 60 ID, 183 OOD).

    Source: copying as in Delétang et al., ICLR 2023, and Jelassi et al., ICML 2024; the rules are ours.

    >>> lang = MarkedCopy()
    >>> lang.contains(["ab#ab", "ab#ba"]).tolist(), lang.viable(["ab#a", "ab#b"]).tolist()
    ([True, False], [True, False])
    """

    name = "markedcopy"
    summary = "w # w, w over {a, b}"
    level = "context-sensitive"
    tags = ("copying",)
    alphabet = ("a", "b", "#")
    rules = (copied("#"), exactly_one("#"))
    prompt_length = 5
