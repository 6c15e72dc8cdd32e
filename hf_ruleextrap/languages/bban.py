"""b^n a^2m."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hf_ruleextrap.formal import Language, WordBatch, even_count, ordered
from hf_ruleextrap.formal.counting import Entropy, uniform_entropy
from hf_ruleextrap.formal.families import blocks
from hf_ruleextrap.formal.words import FloatArray, IntArray


class BBaN(Language):
    """{ b^n a^2m : n >= 1, m >= 0 }: an even number of a after the last b, and every b before every a.

    In the language: ``b``, ``bbb``, ``baa``, ``bbaaaa``. Not: ``ba`` (R1), ``ab`` (R2), ``aa`` (R2: it has no b).

    The prompt ``ab`` breaks R2; ``abaa`` keeps R1.

    Sampler: the length l is uniform on {1, …, max_length}, and k is uniform on {0, …, (l - 1) // 2}. The word is b^(l -
    2k) a^2k. Prompts of length L: the ID prompts are b^i a^(L - i) with i = 1 … L - 1, and the OOD prompts are a b^i
    a^(L - 1 - i) with i = 1 … L - 2 (8: 7 ID, 6 OOD). A completion alone keeps R2 if it is in order, with or without a
    b.

    ``paper``: 128 ID and 128 OOD prompts drawn from these with replacement; a completion without b breaks R2, so that
    every model that learned the language scores 0 there.

    Source: Mészáros et al., NeurIPS 2024, L2.

    >>> lang = BBaN()
    >>> lang.contains(["bbaa", "ba", "aa"]).tolist(), lang.viable(["ba", "ab"]).tolist()
    ([True, False, False], [True, False])
    >>> lang.prompts("ood", length=5).texts
    ['abaaa', 'abbaa', 'abbba']
    """

    name = "bban"
    summary = "b^n a^2m, n >= 1"
    level = "regular"
    tags = ("paper",)
    alphabet = ("a", "b")
    rules = (
        even_count("a", since="b"),
        replace(ordered("b", "a", leading=True), on_completion=ordered("b", "a")),
    )
    paper_rules = (rules[0], replace(rules[1], on_completion=None))
    shortest = 1
    paper_train_size = 15_000
    parameters = {"n": "the number of b", "m": "half the number of a"}  # noqa: RUF012  # never changed

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw the length, then the number of a."""
        length = rng.integers(1, max_length, size=n, endpoint=True)
        twos = rng.integers(0, (length - 1) // 2, endpoint=True)
        return blocks(("b", length - 2 * twos), ("a", 2 * twos))

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """Return the log of 1 / (number of lengths) / (number of k for that length)."""
        return np.asarray(-np.log(max_length) - np.log((words.lengths - 1) // 2 + 1))

    def entropy(self, max_length: int) -> Entropy:
        """Return the entropy of the length, and of k for that length."""
        lengths = np.arange(1, max_length + 1)
        return uniform_entropy(lengths, np.log((lengths - 1) // 2 + 1))

    def candidates(self, length: int, rng: np.random.Generator) -> list[str]:
        """Return the ID and the OOD prompts, each once; with ``paper``, 128 draws of each kind."""
        inside = ["b" * i + "a" * (length - i) for i in range(1, length)]
        outside = ["a" + "b" * i + "a" * (length - 1 - i) for i in range(1, length - 1)]
        if not self.paper:
            return inside + outside
        return [texts[i] for texts in (inside, outside) if texts for i in rng.integers(len(texts), size=128)]

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """Return the two exponents."""
        return {"n": (words.codes == ord("b")).sum(axis=1), "m": (words.codes == ord("a")).sum(axis=1) // 2}
