"""The languages from the literature agree with the definitions of their sources on all strings up to a length.

Each definition is taken from its source and shares no code with the package: the definitions use run lengths, regular
expressions, counts, and products of permutation matrices. If this package added a rule to a language, the test compares
only the rules of the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations, groupby, product

import numpy as np
import pytest

from hf_ruleextrap import get_language

Definition = Callable[[str], bool]


def full(pattern: str) -> Definition:
    return lambda word: re.fullmatch(pattern, word) is not None


def runs(word: str) -> list[tuple[str, int]]:
    return [(symbol, len(list(run))) for symbol, run in groupby(word)]


def no_odd_ones_before_odd_zeros(word: str) -> bool:
    odd = [symbol for symbol, length in runs(word) if length % 2]
    return ("1", "0") not in combinations(odd, 2)


def even_number_of_mixed_pairs(word: str) -> bool:
    pairs = [word[i : i + 2] for i in range(0, len(word), 2)]
    return len(word) % 2 == 0 and sum(pair in ("01", "10") for pair in pairs) % 2 == 0


def identity(*cycles: tuple[str, str]) -> Definition:
    """Return the predicate that a product of permutation matrices is the identity.

    Args:
        cycles: Each symbol with its cycle, whose points are counted from 1.
    """
    size = max(int(point) for _, cycle in cycles for point in cycle)
    matrices = {}
    for symbol, cycle in cycles:
        matrices[symbol] = np.eye(size, dtype=int)
        for here, there in zip(cycle, cycle[1:] + cycle[0], strict=True):
            matrices[symbol][int(here) - 1] = np.eye(size, dtype=int)[int(there) - 1]

    def is_identity(word: str) -> bool:
        total = np.eye(size, dtype=int)
        for symbol in word:
            total = total @ matrices[symbol]
        return bool((total == np.eye(size, dtype=int)).all())

    return is_identity


def bounded(depth: int, *pairs: str) -> str:
    """Return a regular expression for brackets that are nested at most ``depth`` deep."""
    inside = ""
    for _ in range(depth):
        inside = "(" + "|".join(f"{re.escape(pair[0])}{inside}{re.escape(pair[1])}" for pair in pairs) + ")*"
    return inside


def balanced(pairs: str, word: str) -> bool:
    """Return whether each kind of bracket is balanced by itself: no prefix closes more than it opens, and all close."""
    for opening, closing in (pairs[i : i + 2] for i in range(0, len(pairs), 2)):
        depths = np.cumsum([0] + [(symbol == opening) - (symbol == closing) for symbol in word])
        if depths.min() < 0 or depths[-1] != 0:
            return False
    return True


def nested(word: str) -> bool:
    shorter = word.replace("()", "").replace("[]", "")
    return not word or (shorter != word and nested(shorter))


def memory_is_right(word: str) -> bool:
    """Return whether the bit after every instruction r is the bit after the last w before it."""
    reads = [i for i in range(0, len(word), 2) if word[i] == "r"]
    return all(word[i + 1] == word[word.rindex("w", 0, i) + 1] for i in reads)


# The source, the indices of the rules of this package that come from the source, and the definition of the source.
LITERATURE: dict[str, tuple[str, tuple[int, ...], Definition]] = {
    "tomita1": ("Tomita, CogSci 1982: 1*", (1,), full("1*")),
    "tomita2": ("Tomita, CogSci 1982: (10)*, here without the empty word", (0, 1), full("(10)+")),
    "tomita3": (
        "Tomita, CogSci 1982: no odd run of 1 is followed later by an odd run of 0",
        (1,),
        no_odd_ones_before_odd_zeros,
    ),
    "tomita4": ("Tomita, CogSci 1982: no more than two 0 in a row", (1,), full("(1|01|001)*0{0,2}")),
    "tomita5": (
        "Tomita, CogSci 1982: of even length, and cut into pairs, an even number of them 01 or 10",
        (0,),
        even_number_of_mixed_pairs,
    ),
    "tomita6": (
        "Tomita, CogSci 1982: the numbers of 0 and of 1 differ by a multiple of 3",
        (0,),
        lambda w: abs(w.count("0") - w.count("1")) in range(0, len(w) + 1, 3),
    ),
    "tomita7": ("Tomita, CogSci 1982: 0*1*0*1*", (1,), full("0*1*0*1*")),
    "aastar": ("Bhattamishra et al., EMNLP 2020: (aa)*, here without the empty word", (0, 1), full("(aa)*")),
    "dyck1d3": ("Bhattamishra et al., EMNLP 2020: D_0 empty, D_n = (a D_{n-1} b)*", (0, 1), full(bounded(3, "()"))),
    "dyck2d3": ("Hewitt et al., EMNLP 2020: Dyck-(2, 3)", (0, 1), full(bounded(3, "()", "[]"))),
    "shuffle3": ("Suzgun et al., 2019: Shuffle-3 of Dyck-1", (0, 1, 2), lambda w: balanced("()[]{}", w)),
    "parity": ("Hahn, TACL 2020: an even number of 1", (0,), full("(0|10*1)*")),
    "majority": ("Yang and Chiang, COLM 2024: more a than b", (0,), lambda w: 2 * w.count("a") > len(w)),
    "mod3": ("Delétang et al., ICLR 2023: counting modulo 3", (0,), full("(b|ab*ab*a)*")),
    "flipflop": (
        "Liu et al., NeurIPS 2023: instructions and bits alternate from w to r, and a read gives the bit last written",
        (0, 1),
        lambda w: re.fullmatch("w[01]([wri][01])*r[01]", w) is not None and memory_is_right(w),
    ),
    "a5": ("Barrington, JCSS 1989: the word problem of A_5", (0,), identity(("a", "123"), ("b", "12345"))),
    "s3": ("Liu et al., ICLR 2023: the word problem of S_3", (0,), identity(("a", "12"), ("b", "123"))),
    "z5": ("Liu et al., ICLR 2023: the word problem of Z_5", (0,), identity(("a", "12345"), ("b", "15432"))),
    "markedcopy": ("Jelassi et al., ICML 2024: w # w", (0, 1), full(r"([ab]*)#\1")),
    "markedreversal": (
        "Delétang et al., ICLR 2023: w # w reversed",
        (0, 1),
        lambda w: w.count("#") == 1 and w == w[::-1],
    ),
    "anbmcnm": (
        "a counter language, as in Weiss et al., ACL 2018: a^n b^m c^(n + m)",
        (0, 1),
        lambda w: w in {"a" * n + "b" * m + "c" * (n + m) for n in range(12) for m in range(12)},
    ),
    "ban": ("Mészáros et al., NeurIPS 2024, L1: b first, an even number of a", (0, 1), full("b(b|ab*a)*")),
    "bban": ("Mészáros et al., NeurIPS 2024, L2: b^n a^2m, n >= 1", (0, 1), full("b+(aa)*")),
    "anbn": (
        "Mészáros et al., NeurIPS 2024, L3: a^n b^n",
        (0, 1),
        lambda w: w in {"a" * n + "b" * n for n in range(12)},
    ),
    "anbncn": (
        "Mészáros et al., NeurIPS 2024, L5: a^n b^n c^n",
        (0, 1),
        lambda w: w in {"a" * n + "b" * n + "c" * n for n in range(12)},
    ),
    "dyck": ("Mészáros et al., NeurIPS 2024, L4: nested parentheses and brackets", (0, 1, 2), nested),
    "csdyck": (
        "Mészáros et al., NeurIPS 2024, L6: matched parentheses and brackets",
        (0, 1),
        lambda w: balanced("()[]", w),
    ),
}
LONGEST = {2: 12, 3: 8, 4: 7, 5: 6, 6: 5}


@pytest.mark.parametrize("name", LITERATURE)
def test_a_language_agrees_with_its_source(name: str) -> None:
    _, own, definition = LITERATURE[name]
    language = get_language(name)
    alphabet = language.alphabet
    longest = LONGEST[len(alphabet)]
    words = ["".join(word) for n in range(1, longest + 1) for word in product(alphabet, repeat=n)]
    keeps_rules = np.logical_and.reduce([language.rules[i].holds(words) for i in own])
    different = [word for word, ours in zip(words, keeps_rules.tolist(), strict=True) if ours != definition(word)]
    assert different[:3] == []
    assert 0 < keeps_rules.sum() < len(words)


def test_the_third_grammar_agrees_with_the_examples_of_tomita() -> None:
    rule = get_language("tomita3").rules[1]
    inside = ["", "1", "0", "01", "11", "00", "100", "110", "111", "000", "100100"]
    inside += ["110000011100001", "111101100010011100"]
    outside = ["10", "101", "010", "1010", "1110", "1011", "10001", "111010", "1001000", "11111000"]
    outside += ["0111001101", "11011100110", "100110"]
    assert rule.holds(inside).all()
    assert not rule.holds(outside).any()
