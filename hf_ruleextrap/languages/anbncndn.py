"""a^n b^n c^n d^n."""

from __future__ import annotations

from hf_ruleextrap.formal import EqualBlocks, equal_counts, ordered


class AnBnCnDn(EqualBlocks):
    """{ a^n b^n c^n d^n : n >= 1 }.

    As many a as b as c as d, and every a before every b before every c before every d.

    In the language: ``abcd``, ``aabbccdd``. Not: ``abc`` (R1), ``abdc`` (R2).

    The prompt ``ba`` breaks R2; ``bacd`` keeps R1.

    Sampler: n is uniform on {1, …, max_length // 4}. Prompts: all strings of one length (5: 4 ID, 1020 OOD).

    Source: one block more than Mészáros et al., NeurIPS 2024, L5.

    >>> lang = AnBnCnDn()
    >>> lang.contains(["abcd", "acbd"]).tolist(), lang.viable(["aabbc", "aabcc"]).tolist()
    ([True, False], [True, False])
    """

    name = "anbncndn"
    summary = "a^n b^n c^n d^n, n >= 1"
    level = "context-sensitive"
    tags = ("counting", "C-RASP")
    alphabet = ("a", "b", "c", "d")
    rules = (equal_counts("a", "b", "c", "d"), ordered("a", "b", "c", "d"))
    prompt_length = 5
