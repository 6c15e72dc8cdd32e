"""The word problem of the cyclic group of order 5."""

from __future__ import annotations

from hf_ruleextrap.formal import Regular, group_word, starts_with


class Z5(Regular):
    """The symbol a adds 1 and b subtracts 1 modulo 5: the sum is 0, and a is first.

    In the language: ``ab``, ``aaaaa``. Not: ``a`` (R1), ``ba`` (R2).

    The prompt ``b`` breaks R2; ``ba`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 128 ID, 128 OOD).

    Source: state tracking as in Liu et al., ICLR 2023 (Transformers Learn Shortcuts to Automata), and Merrill et al.,
    ICML 2024 (The Illusion of State); the second rule is ours, since a word problem alone has no OOD prompts.

    >>> lang = Z5()
    >>> lang.contains(["aaaaa", "aab"]).tolist(), lang.viable(["aa", "b"]).tolist()
    ([True, False], [True, False])
    """

    name = "z5"
    summary = "a = +1 and b = -1 sum to 0 modulo 5, a first"
    tags = ("state-tracking",)
    alphabet = ("a", "b")
    rules = (
        group_word(
            {"a": (1, 2, 3, 4, 0), "b": (4, 0, 1, 2, 3)},
            name="sum_is_0",
            summary="the sum of a = +1 and b = -1 is 0 modulo 5",
        ),
        starts_with("a"),
    )
