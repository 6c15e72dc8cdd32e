"""a^n b^n."""

from __future__ import annotations

import numpy as np

from hf_ruleextrap.formal.language import Language
from hf_ruleextrap.formal.machine import State
from hf_ruleextrap.formal.rules import equal_counts, ordered
from hf_ruleextrap.formal.sampling import blocks
from hf_ruleextrap.formal.words import BoolArray, FloatArray, IntArray, WordBatch


class AnBn(Language):
    """{ a^n b^n : n >= 1 }: as many a as b, and every a before every b.

    In the language: ``ab``, ``aabb``, ``aaabbb``. Not: ``aab`` (R1), ``baab`` (R2), ``ba`` (R2).

    The prompt ``baa`` breaks R2; ``baab`` and ``baabab`` … cannot mend that, but ``baab`` keeps R1. The prompt
    ``abb`` leaves each rule viable, but not both at once.

    Sampler: n uniform on {1, …, max_length // 2}. Prompts: all strings of a length (8: 5 ID, 251 OOD).
    ``paper`` changes nothing.

    Source: Mészáros et al., NeurIPS 2024, L3.

    >>> lang = AnBn()
    >>> lang.contains(["aabb", "ba"]).tolist(), lang.viable(["aab", "abb"]).tolist()
    ([True, False], [True, False])
    >>> [len(lang.prompts(kind)) for kind in ("id", "ood")]
    [5, 251]
    """

    name = "anbn"
    summary = "a^n b^n, n >= 1"
    level = "context-free"
    alphabet = ("a", "b")
    rules = (equal_counts("a", "b"), ordered("a", "b"))
    shortest = 2
    few_words = True
    parameters = {"n": "the exponent"}  # noqa: RUF012  # never changed

    def alive(self, state: State) -> BoolArray:
        """In order, and no more b than a."""
        surplus, phase = state
        return self.rules[1].alive((phase,)) & (surplus >= 0)

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """One over the number of exponents."""
        return np.full(len(words), -np.log(max_length // 2))

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """The exponent is uniform."""
        exponent = rng.integers(1, max_length // 2, size=n, endpoint=True)
        return blocks(("a", exponent), ("b", exponent))

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """Half of the length."""
        return {"n": words.lengths // 2}
