"""Balanced parentheses, brackets and braces, interleaved at will."""

from __future__ import annotations

import numpy as np

from hf_ruleextrap.formal import Language, WordBatch, balanced
from hf_ruleextrap.formal.counting import Entropy, bracket_entropies, uniform_entropy
from hf_ruleextrap.formal.families import bracket_log_probability, bracket_words
from hf_ruleextrap.formal.words import FloatArray


class Shuffle3(Language):
    """Balanced ( ), [ ] and { }, not necessarily nested (the shuffle of three Dyck languages).

    In the language: ``()``, ``([)]``, ``{(})``. Not: ``[`` (R1), ``)(`` (R2), ``{`` (R3).

    The prompt ``)[`` breaks R2; ``)[]`` keeps R1 and R3.

    Sampler: the length is uniform on the even numbers up to max_length, and each symbol is uniform over the symbols
    that leave the prefix viable. Once the open brackets need all remaining symbols, only closing symbols are drawn.
    Prompts: all strings of one length that leave R1 viable (4: 234 ID, 524 OOD).

    Source: Shuffle-k of Suzgun et al., 2019 (LSTM Networks Can Perform Dynamic Counting), with k = 3.

    >>> lang = Shuffle3()
    >>> lang.contains(["([)]", "]["]).tolist(), lang.viable(["([{", ")["]).tolist()
    ([True, False], [True, False])
    """

    name = "shuffle3"
    summary = "balanced ( ), [ ] and { }, interleaved at will"
    level = "context-sensitive"
    tags = ("brackets", "C-RASP")
    alphabet = ("(", ")", "[", "]", "{", "}")
    rules = (balanced("[", "]"), balanced("(", ")"), balanced("{", "}"))
    require_r1_viable = True
    prompt_length = 4
    shortest = 2

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw the length, then the symbols one by one."""
        return bracket_words(self, 2 * rng.integers(1, max_length // 2, size=n, endpoint=True), rng)

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """Return the log of the product of the choices that lead to the word."""
        return bracket_log_probability(self, words, max_length)

    def entropy(self, max_length: int) -> Entropy:
        """Return the entropy of the length, and of each symbol given the symbols before it."""
        lengths = np.arange(2, max_length + 1, 2)
        return uniform_entropy(lengths, bracket_entropies(max_length, kinds=3, interleaved=True))
