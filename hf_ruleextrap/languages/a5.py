"""The word problem of the alternating group A_5."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, group_word, starts_with


class A5(Regular):
    """The symbol a rotates three of five things, and b rotates all five: their product is the identity, and a is first.

    A_5 is the smallest group that is not solvable, so its word problem is complete for NC^1.

    In the language: ``aaa``, ``abbbbbaa``. Not: ``a`` (R1), ``bbbbb`` (R2).

    The prompt ``bb`` breaks R2; ``bbbbb`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 128 ID, 128 OOD).

    Source: Barrington, JCSS 1989, for NC^1; state tracking as in Liu et al., ICLR 2023 (Transformers Learn Shortcuts to
    Automata), and Merrill et al., ICML 2024 (The Illusion of State); the second rule is ours, since a word problem
    alone has no OOD prompts.

    >>> lang = A5()
    >>> lang.contains(["aaa", "ab"]).tolist(), lang.viable(["ab", "b"]).tolist()
    ([True, False], [True, False])
    """

    name = "a5"
    summary = "rotations a of three and b of five things come to nothing, a first"
    tags = ("state-tracking",)
    alphabet = ("a", "b")
    rules = (
        group_word(
            {"a": (1, 2, 0, 3, 4), "b": (1, 2, 3, 4, 0)},
            name="product_is_1",
            summary="the product of a = (1 2 3) and b = (1 2 3 4 5) is the identity",
        ),
        starts_with("a"),
    )
