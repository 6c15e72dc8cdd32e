"""b, then an even number of a among any b."""

from __future__ import annotations

from math import comb, lgamma, log

import numpy as np

from hf_ruleextrap.formal import Language, WordBatch, even_count, starts_with
from hf_ruleextrap.formal.counting import Entropy, uniform_entropy
from hf_ruleextrap.formal.families import blocks, shuffled
from hf_ruleextrap.formal.words import FloatArray, IntArray


class BAN(Language):
    """{ b w : w over {a, b} with an even number of a }: an even number of a, and b first.

    In the language: ``b``, ``baa``, ``baba``. Not: ``ba`` (R1), ``aa`` (R2), ``ab`` (both).

    The prompt ``ab`` breaks R2; ``aba`` keeps R1.

    Sampler: the length l is uniform on {1, …, max_length}, and k is uniform on {0, …, (l - 1) // 2}. The word is b,
    followed by 2k a and l - 1 - 2k b in random order. Prompts: all strings of one length (8: 128 ID, 128 OOD). A
    completion alone keeps R2 if its first symbol is b. ``paper`` changes nothing.

    Source: Mészáros et al., NeurIPS 2024, L1.

    >>> lang = BAN()
    >>> lang.contains(["baba", "ba", "aa"]).tolist(), lang.viable(["ba", "a"]).tolist()
    ([True, False, False], [True, False])
    >>> [len(lang.prompts(kind)) for kind in ("id", "ood")]
    [128, 128]
    """

    name = "ban"
    summary = "b w, w over {a, b} with an even number of a"
    level = "regular"
    tags = ("paper",)
    alphabet = ("a", "b")
    rules = (even_count("a"), starts_with("b"))
    shortest = 1
    paper_train_size = 15_000
    parameters = {"m": "half the number of a"}  # noqa: RUF012  # never changed

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw the length, then the number of a, then their places."""
        length = rng.integers(1, max_length, size=n, endpoint=True)
        twos = rng.integers(0, (length - 1) // 2, endpoint=True)
        rest = blocks(("a", 2 * twos), ("b", length - 1 - 2 * twos))
        return blocks(("b", np.ones_like(length))).followed_by(shuffled(rest, rng))

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        """Return the log of 1 / (number of lengths) / (number of k) / (number of places for 2k a among l - 1)."""
        log_factorial = np.array([lgamma(n + 1) for n in range(max_length + 1)])
        rest, count = words.lengths - 1, (words.codes == ord("a")).sum(axis=1)
        places = log_factorial[rest] - log_factorial[count] - log_factorial[rest - count]
        return np.asarray(-np.log(max_length) - np.log(rest // 2 + 1) - places)

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:
        """Return half the number of a."""
        return {"m": (words.codes == ord("a")).sum(axis=1) // 2}

    def entropy(self, max_length: int) -> Entropy:
        """Return the entropy of the length, of k, and of the places for 2k a among l - 1."""
        lengths = np.arange(1, max_length + 1)
        places = [[log(comb(n - 1, 2 * k)) for k in range((n - 1) // 2 + 1)] for n in lengths.tolist()]
        return uniform_entropy(lengths, np.array([log(len(of_length)) + np.mean(of_length) for of_length in places]))
