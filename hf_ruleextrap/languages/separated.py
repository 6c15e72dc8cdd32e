"""Balanced parentheses, then balanced brackets."""

from __future__ import annotations

import numpy as np

from hf_ruleextrap.formal import Language, balanced, in_blocks
from hf_ruleextrap.formal.machine import State
from hf_ruleextrap.formal.words import BoolArray


class Separated(Language):
    """Balanced ( ), then balanced [ ], one of them perhaps empty.

    [ ] are balanced, every parenthesis stands before every bracket, and ( ) are balanced.

    In the language: ``()[]``, ``(())``, ``[][]``. Not: ``[`` (R1), ``[]()`` (R2), ``([])`` (R2).

    The prompt ``[(`` breaks R2; ``[()]`` keeps R1 and R3. The prompt ``([`` leaves each rule viable, but not all at
    once.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length that leave R1 viable (5: 25 ID, 437 OOD).

    Source: a grammar of the authors' code, which could not be trained there; the rules are ours.

    >>> lang = Separated()
    >>> lang.contains(["()[]", "[]()"]).tolist(), lang.viable(["()[", "(["]).tolist()
    ([True, False], [True, False])
    """

    name = "separated"
    summary = "balanced ( ), then balanced [ ]"
    level = "deterministic context-free"
    tags = ("authors", "brackets", "one-counter", "C-RASP")
    alphabet = ("(", ")", "[", "]")
    rules = (balanced("[", "]"), in_blocks("()", "[]"), balanced("(", ")"))
    require_r1_viable = True
    prompt_length = 5

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether each rule is viable and no parenthesis is open once there is a bracket."""
        _, phase, depth = state
        return np.asarray(super().alive(state) & ((phase == 0) | (depth == 0)))
