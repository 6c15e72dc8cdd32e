"""a^n b^n c^n."""

from __future__ import annotations

from hf_ruleextrap.formal import EqualBlocks, equal_counts, ordered


class AnBnCn(EqualBlocks):
    """{ a^n b^n c^n : n >= 1 }: as many a as b as c, and every a before every b before every c.

    In the language: ``abc``, ``aabbcc``. Not: ``aabc`` (R1), ``acb`` (R2), ``cba`` (R2).

    The prompt ``ba`` breaks R2; ``bac`` keeps R1.

    Sampler: n is uniform on {1, …, max_length // 3}. Prompts: all strings of one length (5: 4 ID, 239 OOD). ``paper``
    changes nothing.

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
    tags = ("paper", "counting", "C-RASP")
    alphabet = ("a", "b", "c")
    rules = (equal_counts("a", "b", "c"), ordered("a", "b", "c"))
    prompt_length = 5
