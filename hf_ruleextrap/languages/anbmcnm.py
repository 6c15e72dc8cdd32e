"""a^n b^m c^(n + m)."""

from __future__ import annotations

from hf_ruleextrap.formal import Language, equal_sums, ordered
from hf_ruleextrap.formal.machine import State
from hf_ruleextrap.formal.words import BoolArray


class AnBmCnm(Language):
    """{ a^n b^m c^(n + m) : n + m >= 1 }.

    As many c as a and b together, and every a before every b before every c.

    In the language: ``ac``, ``bbcc``, ``abcc``. Not: ``abc`` (R1), ``bacc`` (R2).

    The prompt ``ba`` breaks R2; ``bacc`` keeps R1. The prompt ``acc`` leaves each rule viable, but not both at once.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (5: 15 ID, 228 OOD).

    Source: a common counter language, as in Weiss et al., ACL 2018 (On the Practical Computational Power of Finite
    Precision RNNs); the rules are ours.

    >>> lang = AnBmCnm()
    >>> lang.contains(["abcc", "abc"]).tolist(), lang.viable(["ab", "acc"]).tolist()
    ([True, False], [True, False])
    """

    name = "anbmcnm"
    summary = "a^n b^m c^(n + m), n + m >= 1"
    level = "deterministic context-free"
    tags = ("counting", "one-counter", "C-RASP")
    alphabet = ("a", "b", "c")
    rules = (equal_sums("c", "ab"), ordered("a", "b", "c"))
    prompt_length = 5

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the symbols are in order and there are at most as many c as a and b together."""
        surplus, phase = state
        return self.rules[1].alive((phase,)) & (surplus <= 0)
