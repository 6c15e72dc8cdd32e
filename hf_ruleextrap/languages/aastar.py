"""(aa)^n."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, length_mod, no_factor


class AAStar(Regular):
    """{ (aa)^n : n >= 1 } among the words over {a, b}: an even number of symbols, and no b.

    In the language: ``aa``, ``aaaa``. Not: ``aaa`` (R1), ``ab`` (R2), ``b`` (both).

    The prompt ``ab`` breaks R2 and keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 1 ID, 255 OOD).

    Source: (aa)* of Bhattamishra et al., EMNLP 2020; the b, which breaks the second rule, is ours.

    >>> lang = AAStar()
    >>> lang.contains(["aa", "aaa"]).tolist(), lang.viable(["aaa", "ba"]).tolist()
    ([True, False], [True, False])
    """

    name = "aastar"
    summary = "a^2n, n >= 1"
    alphabet = ("a", "b")
    rules = (length_mod(2, 0), no_factor("b"))
    one_word_per_length = True
