"""w # w reversed."""

from __future__ import annotations

from hf_ruleextrap.formal import Marked, copied, exactly_one


class MarkedReversal(Marked):
    """{ w # v : w over {a, b}, v its reversal }.

    The reversal of the symbols before the first # follows the last #, and there is exactly one #.

    In the language: ``#``, ``a#a``, ``ab#ba``. Not: ``ab#ab`` (R1), ``a#b#a`` (R2).

    The prompt ``ab#a#`` breaks R2; ``ab#a#ba`` keeps R1. The prompt ``ab#a`` leaves each rule viable, but not both at
    once.

    Sampler: the length of w is uniform on {0, …, (max_length - 1) // 2}, and each symbol of w is uniform. Prompts: all
    strings of one length (5: 60 ID, 183 OOD).

    Source: reversal as in Delétang et al., ICLR 2023; the rules are ours.

    >>> lang = MarkedReversal()
    >>> lang.contains(["ab#ba", "ab#ab"]).tolist(), lang.viable(["ab#b", "ab#a"]).tolist()
    ([True, False], [True, False])
    """

    name = "markedreversal"
    summary = "w # w reversed, w over {a, b}"
    level = "deterministic context-free"
    tags = ("copying",)
    alphabet = ("a", "b", "#")
    rules = (copied("#", reverse=True), exactly_one("#"))
    prompt_length = 5
    reverse = True
