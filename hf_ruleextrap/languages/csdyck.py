"""Balanced parentheses and balanced brackets, interleaved at will."""

from __future__ import annotations

import numpy as np

from hf_ruleextrap.formal import Language, WordBatch, balanced
from hf_ruleextrap.formal.counting import Entropy, bracket_entropies, uniform_entropy
from hf_ruleextrap.formal.families import bracket_depth, bracket_log_probability, bracket_words
from hf_ruleextrap.formal.words import FloatArray, IntArray
from hf_ruleextrap.languages.dyck import prime_words


class ContextSensitiveDyck(Language):
    """Balanced ( ) and balanced [ ], not necessarily nested (the shuffle of two Dyck languages).

    In the language: ``()``, ``([])``, ``([)]``. Not: ``[`` (R1), ``(`` (R2), ``)[](`` (R2).

    The prompt ``)[`` breaks R2; ``)[]`` keeps R1.

    Sampler: the length is uniform on the even numbers up to max_length, and each symbol is uniform over the symbols
    that leave the prefix viable. Once the open brackets need all remaining symbols, only closing symbols are drawn.
    Prompts of length L: ``([`` w (ID) and ``)[`` w (OOD) for every word w of L - 2 symbols (8: 70 and 70).

    ``paper``: the prompts' w are 32 properly nested prime words (the authors' generator for `dyck`), drawn with
    replacement, the same for ID and OOD.

    Source: Mészáros et al., NeurIPS 2024, L6.

    >>> lang = ContextSensitiveDyck()
    >>> lang.contains(["([)]", "][", "(("]).tolist(), lang.viable(["([)", ")["]).tolist()
    ([True, False, False], [True, False])
    >>> lang.prompts("ood")[0].broken
    ('balanced_parentheses',)
    """

    name = "csdyck"
    summary = "balanced ( ) and balanced [ ], interleaved at will"
    level = "context-sensitive"
    tags = ("paper", "brackets", "C-RASP")
    alphabet = ("(", ")", "[", "]")
    rules = (balanced("[", "]"), balanced("(", ")"))
    shortest = 2
    parameters = {"depth": "most brackets open at once"}  # noqa: RUF012  # never changed

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw the length, then the symbols one by one."""
        lengths = 2 * rng.integers(1, max_length // 2, size=n, endpoint=True)
        return bracket_words(self, lengths, rng)

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """Return the log of the product of the choices that lead to the word."""
        return bracket_log_probability(self, words, max_length)

    def entropy(self, max_length: int) -> Entropy:
        """Return the entropy of the length, and of each symbol given the symbols before it."""
        lengths = np.arange(2, max_length + 1, 2)
        return uniform_entropy(lengths, bracket_entropies(max_length, kinds=2, interleaved=True))

    def candidates(self, length: int, rng: np.random.Generator) -> list[str]:
        """Return prompts that consist of a prefix and a word."""
        inner = prime_words(length - 2, 32, rng) if self.paper else self.words_of_length(length - 2)
        return [prefix + word for prefix in ("([", ")[") for word in inner]

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """Return the largest number of brackets that are open at the same place."""
        return {"depth": bracket_depth(self, words)}
