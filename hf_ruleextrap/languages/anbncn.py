"""a^n b^n c^n."""

from __future__ import annotations

import numpy as np

from hf_ruleextrap.formal.language import Language
from hf_ruleextrap.formal.machine import State
from hf_ruleextrap.formal.rules import equal_counts, ordered
from hf_ruleextrap.formal.sampling import blocks
from hf_ruleextrap.formal.words import BoolArray, FloatArray, IntArray, WordBatch


class AnBnCn(Language):
    """{ a^n b^n c^n : n >= 1 }: as many a as b as c, and every a before every b before every c.

    In the language: ``abc``, ``aabbcc``. Not: ``aabc`` (R1), ``acb`` (R2), ``cba`` (R2).

    The prompt ``ba`` breaks R2; ``bac`` keeps R1.

    Sampler: n uniform on {1, …, max_length // 3}. Prompts: all strings of a length (5: 4 ID, 239 OOD).
    ``paper`` changes nothing.

    Source: Mészáros et al., NeurIPS 2024, L5.

    >>> lang = AnBnCn()
    >>> lang.contains(["aabbcc", "abbc"]).tolist(), lang.viable(["aabbc", "aabcc"]).tolist()
    ([True, False], [True, False])
    >>> lang.prompts("id").texts, len(lang.prompts("ood"))
    (['aaaaa', 'aaaab', 'aaabb', 'aabbc'], 239)
    """

    name = "anbncn"
    summary = "a^n b^n c^n, n >= 1"
    level = "context-sensitive"
    alphabet = ("a", "b", "c")
    rules = (equal_counts("a", "b", "c"), ordered("a", "b", "c"))
    shortest = 3
    few_words = True
    parameters = {"n": "the exponent"}  # noqa: RUF012  # never changed
    prompt_length = 5

    def alive(self, state: State) -> BoolArray:
        """In order, no more b or c than a, and once there is a c, as many b as a."""
        a_less_b, a_less_c, phase = state
        counts = (a_less_b >= 0) & (a_less_c >= 0) & ((phase < 3) | (a_less_b == 0))
        return np.asarray(self.rules[1].alive((phase,)) & counts)

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """One over the number of exponents."""
        return np.full(len(words), -np.log(max_length // 3))

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """The exponent is uniform."""
        exponent = rng.integers(1, max_length // 3, size=n, endpoint=True)
        return blocks(("a", exponent), ("b", exponent), ("c", exponent))

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """A third of the length."""
        return {"n": words.lengths // 3}
