"""The word problem of the symmetric group S_3."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, group_word, starts_with


class S3(Regular):
    """The symbol a swaps two of three things, and b rotates all three: their product is the identity, and a is first.

    In the language: ``aa``, ``abab``. Not: ``a`` (R1), ``bbb`` (R2).

    The prompt ``bb`` breaks R2; ``bbb`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 128 ID, 128 OOD).

    Source: state tracking as in Liu et al., ICLR 2023 (Transformers Learn Shortcuts to Automata), and Merrill et al.,
    ICML 2024 (The Illusion of State); the second rule is ours, since a word problem alone has no OOD prompts.

    >>> lang = S3()
    >>> lang.contains(["abab", "ab"]).tolist(), lang.viable(["ab", "b"]).tolist()
    ([True, False], [True, False])
    """

    name = "s3"
    summary = "a swap a and a rotation b of three things come to nothing, a first"
    tags = ("state-tracking",)
    alphabet = ("a", "b")
    rules = (
        group_word(
            {"a": (1, 0, 2), "b": (1, 2, 0)},
            name="product_is_1",
            summary="the product of a = (1 2) and b = (1 2 3) is the identity",
        ),
        starts_with("a"),
    )
