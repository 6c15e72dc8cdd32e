"""More a than b, and b first."""

from __future__ import annotations

from hf_ruleextrap.formal import Language, more, starts_with


class Majority(Language):
    """Words over {a, b} with more a than b, and b first.

    In the language: ``baa``, ``baaba``. Not: ``ba`` (R1), ``a`` (R2).

    The prompt ``ab`` breaks R2; ``aba`` keeps R1.

    Sampler: the length is uniform among the lengths of words, and the words of a length are equally likely. Prompts:
    all strings of one length (8: 128 ID, 128 OOD).

    Source: the majority of Yang and Chiang, COLM 2024; the second rule is ours, since majority alone has no OOD
    prompts.

    >>> lang = Majority()
    >>> lang.contains(["baa", "aab"]).tolist(), lang.viable(["bb", "a"]).tolist()
    ([True, False], [True, False])
    """

    name = "majority"
    summary = "more a than b, b first"
    level = "deterministic context-free"
    tags = ("counting", "one-counter", "C-RASP")
    alphabet = ("a", "b")
    rules = (more("a", "b"), starts_with("b"))
