"""Properly nested parentheses and brackets."""

from __future__ import annotations

import numpy as np

from hf_ruleextrap.formal import Language, WordBatch, balanced, nested
from hf_ruleextrap.formal.counting import Entropy, bracket_entropies, uniform_entropy
from hf_ruleextrap.formal.families import bracket_depth, bracket_log_probability, bracket_words
from hf_ruleextrap.formal.words import FloatArray, IntArray


class Dyck(Language):
    """Properly nested ( ) and [ ]: both kinds are balanced, and they close in the reverse order of their opening.

    In the language: ``()``, ``([])``, ``()[]``. Not: ``[`` (R1, R3), ``(`` (R2, R3), ``([)]`` (R3).

    The prompt ``)[`` breaks R2 (and with it R3); ``)[]`` keeps R1.

    Sampler: the length is uniform on the even numbers up to max_length, and each symbol is uniform over the symbols
    that leave the prefix viable. Once the open brackets need all remaining symbols, only closing symbols are drawn.
    Prompts of length L: ``([`` w (ID) and ``)[`` w (OOD) for every word w of L - 2 symbols (8: 40 and 40).

    ``paper``: a word ends as soon as all its brackets are closed, so the data hold no concatenations such as ``()[]``;
    the prompts use 32 of these words as w, drawn with replacement, the same for ID and OOD.

    Source: Mészáros et al., NeurIPS 2024, L4.

    >>> lang = Dyck()
    >>> lang.contains(["([])", "()[]", "([)]"]).tolist(), lang.viable(["([", ")["]).tolist()
    ([True, True, False], [True, False])
    >>> prompt = lang.prompts("ood", length=4)[0]
    >>> prompt.text, prompt.broken, prompt.open
    (')[()', ('balanced_parentheses', 'properly_nested'), ('balanced_brackets',))
    """

    name = "dyck"
    summary = "properly nested ( ) and [ ]"
    level = "deterministic context-free"
    tags = ("paper", "brackets")
    alphabet = ("(", ")", "[", "]")
    rules = (balanced("[", "]"), balanced("(", ")"), nested("()", "[]"))
    shortest = 2
    parameters = {"depth": "most brackets open at once"}  # noqa: RUF012  # never changed

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw the length, then the symbols one by one."""
        lengths = 2 * rng.integers(1, max_length // 2, size=n, endpoint=True)
        return bracket_words(self, lengths, rng, prime=self.paper)

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """Return the log of the product of the choices that lead to the word."""
        return bracket_log_probability(self, words, max_length, prime=self.paper)

    def entropy(self, max_length: int) -> Entropy | None:
        """Return the entropy of the length and of each symbol given those before it; for prime words, an estimate."""
        if self.paper:
            return super().entropy(max_length)
        lengths = np.arange(2, max_length + 1, 2)
        return uniform_entropy(lengths, bracket_entropies(max_length, kinds=2, interleaved=False))

    def candidates(self, length: int, rng: np.random.Generator) -> list[str]:
        """Return prompts that consist of a prefix and a word."""
        inner = prime_words(length - 2, 32, rng) if self.paper else self.words_of_length(length - 2)
        return [prefix + word for prefix in ("([", ")[") for word in inner]

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """Return the largest number of brackets that are open at the same place."""
        return {"depth": bracket_depth(self, words)}


def prime_words(length: int, n: int, rng: np.random.Generator) -> list[str]:
    """Return n prime Dyck words of one length, drawn with replacement as the paper's sampler draws words."""
    words: list[str] = []
    while length > 0 and length % 2 == 0 and len(words) < n:
        drawn = bracket_words(Dyck(), np.full(4 * n, length), rng, prime=True)
        words += drawn.take(drawn.lengths == length)
    return words[:n]
