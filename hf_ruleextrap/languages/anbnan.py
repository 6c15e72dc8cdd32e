"""a^n b^n a^n."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_ruleextrap.formal import Language, Rule, in_blocks
from hf_ruleextrap.formal.machine import State
from hf_ruleextrap.formal.words import BoolArray, ByteArray, IntArray


@dataclass(frozen=True)
class AroundBs(Rule):
    """The number of a before the first b equals the number of b, and equals the number of a after the first b.

    The registers hold whether a b was read, the number of missing b, and the number of missing a after the first b.
    """

    def start(self, n: int) -> State:
        """Return the state in which no symbol is missing."""
        return np.zeros(n, np.bool_), np.zeros(n, np.int32), np.zeros(n, np.int32)

    def step(self, state: State, codes: ByteArray) -> State:
        """Update the missing symbols: an a before the first b adds one to each, any other symbol subtracts one."""
        seen, lacking_b, lacking_a = state
        is_a, is_b = codes == ord("a"), codes == ord("b")
        asks = (is_a & ~seen).astype(np.int32)
        return seen | is_b, lacking_b + asks - is_b, lacking_a + asks - (is_a & seen)

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the three numbers are equal."""
        return np.asarray((state[1] == 0) & (state[2] == 0))

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether no b was read, or no symbol occurs too often."""
        return np.asarray(~state[0] | ((state[1] >= 0) & (state[2] >= 0)))

    def depth(self, state: State) -> IntArray:
        """Return the larger of the two numbers of missing symbols."""
        return np.maximum(np.abs(state[1]), np.abs(state[2])).astype(np.int64)


class AnBnAn(Language):
    """{ a^n b^n a^n : n >= 1 }: as many a before the first b as b, and as many a after it, and three blocks.

    In the language: ``aba``, ``aabbaa``. Not: ``abaa`` (R1), ``aabaab`` (R2).

    The prompt ``aaba`` can still keep each rule, but not both at once; ``aabab`` breaks R2, and ``aababa`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length that leave R1 viable (8: 6 ID, 20 OOD).

    Source: an unused grammar of the authors' code, which generates it without rules; the two rules are ours.

    >>> lang = AnBnAn()
    >>> lang.contains(["aba", "abba"]).tolist(), lang.viable(["aabb", "aaba"]).tolist()
    ([True, False], [True, False])
    """

    name = "anbnan"
    summary = "a^n b^n a^n, n >= 1"
    level = "context-sensitive"
    tags = ("authors", "counting", "C-RASP")
    alphabet = ("a", "b")
    rules = (
        AroundBs(
            name="three_equal_blocks",
            summary="as many a before the first b as there are b, and as many a after it",
        ),
        in_blocks("a", "b", "a"),
    )
    require_r1_viable = True
    one_word_per_length = True

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether there are three blocks and, once the third begins, the first two are equal."""
        *_, lacking_b, _, phase = state
        return np.asarray(super().alive(state) & ((phase < 2) | (lacking_b == 0)))
