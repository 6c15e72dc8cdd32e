"""a^n b^n."""

from __future__ import annotations

from hf_ruleextrap.formal import EqualBlocks, equal_counts, ordered


class AnBn(EqualBlocks):
    """{ a^n b^n : n >= 1 }: as many a as b, and every a before every b.

    In the language: ``ab``, ``aabb``, ``aaabbb``. Not: ``aab`` (R1), ``baab`` (R2), ``ba`` (R2).

    The prompt ``baa`` breaks R2: no suffix makes R2 hold, but ``baab`` keeps R1. The prompt ``abb`` leaves each rule
    viable, but not both at once.

    Sampler: n is uniform on {1, …, max_length // 2}. Prompts: all strings of one length (8: 5 ID, 251 OOD). ``paper``
    changes nothing.

    Source: Mészáros et al., NeurIPS 2024, L3.

    >>> lang = AnBn()
    >>> lang.contains(["aabb", "ba"]).tolist(), lang.viable(["aab", "abb"]).tolist()
    ([True, False], [True, False])
    >>> [len(lang.prompts(kind)) for kind in ("id", "ood")]
    [5, 251]
    """

    name = "anbn"
    summary = "a^n b^n, n >= 1"
    level = "deterministic context-free"
    tags = ("paper", "counting", "one-counter", "C-RASP")
    alphabet = ("a", "b")
    rules = (equal_counts("a", "b"), ordered("a", "b"))
