"""Every language keeps the contract, and agrees with definitions that share no code with the package.

The definitions of the languages from the literature are those of their sources: run lengths, regular expressions,
counts, and products of permutation matrices. If this package added a rule to a language, the test compares only the
rules of the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations, groupby, product

import numpy as np
import pytest

from hf_ruleextrap import get_language
from hf_ruleextrap.formal.contract import check
from hf_ruleextrap.languages import built_in_languages, list_languages


def closes(word: str, pairs: str = "()[]{}") -> bool:
    """Return whether brackets are properly nested: delete adjacent pairs until no pair is left."""
    kinds = [pairs[i : i + 2] for i in range(0, len(pairs), 2)]
    rest = "".join(symbol for symbol in word if symbol in pairs)
    while any(kind in rest for kind in kinds):
        for kind in kinds:
            rest = rest.replace(kind, "")
    return not rest


def deepest(word: str) -> int:
    return max(sum(1 if s in "([" else -1 for s in word[:n]) for n in range(len(word) + 1))


def product_of(word: str, images: dict[str, str]) -> str:
    """Return the product of permutations, each written as the string of the images of its points."""
    points = "".join(sorted(images["a"]))
    for symbol in word:
        points = "".join(images[symbol][int(point)] for point in points)
    return points


def reads_are_right(word: str) -> bool:
    memory = ""
    for instruction, bit in zip(word[::2], word[1::2], strict=False):
        memory = bit if instruction == "w" else memory
        if instruction == "r" and bit != memory:
            return False
    return True


def full(pattern: str) -> Callable[[str], bool]:
    return lambda w: bool(re.fullmatch(pattern, w))


def blocks(alphabet: str) -> Callable[[str], bool]:
    return lambda w: w == "".join(symbol * (len(w) // len(alphabet)) for symbol in alphabet)


MEMBERS: dict[str, Callable[[str], bool]] = {
    "a5": lambda w: w[0] == "a" and product_of(w, {"a": "12034", "b": "12340"}) == "01234",
    "aastar": full("(aa)+"),
    "abn": full("(ab)+"),
    "anbm": full("a+b+"),
    "anbmcnm": lambda w: w == "".join(sorted(w)) and 2 * w.count("c") == len(w),
    "anbn": blocks("ab"),
    "anbnan": lambda w: w == "a" * (len(w) // 3) + "b" * (len(w) // 3) + "a" * (len(w) // 3),
    "anbncn": blocks("abc"),
    "anbncndn": blocks("abcd"),
    "ban": full("bb*(ab*ab*)*"),
    "bban": full("b+(aa)*"),
    "brackets": closes,
    "csdyck": lambda w: closes(w, "()") and closes(w, "[]"),
    "dyck": closes,
    "dyck1d3": lambda w: closes(w) and deepest(w) <= 3,
    "dyck2d3": lambda w: closes(w) and deepest(w) <= 3,
    "flipflop": lambda w: bool(re.fullmatch("w[01]([wri][01])*", w)) and w[-2] == "r" and reads_are_right(w),
    "majority": lambda w: w[0] == "b" and sorted(w)[len(w) // 2] == "a",
    "markedcopy": lambda w: w.count("#") == 1 and w == "#".join([w[: w.index("#")]] * 2),
    "markedreversal": lambda w: w.count("#") == 1 and w == w[::-1],
    "mod3": full("(aaa)*b*"),
    "parentheses": closes,
    "parity": lambda w: w.count("1") % 2 == 0 and "00" not in w,
    "s3": lambda w: w[0] == "a" and product_of(w, {"a": "102", "b": "120"}) == "012",
    "separated": lambda w: closes(w) and re.fullmatch(r"[()]*[][]*", w) is not None,
    "shuffle3": lambda w: closes(w, "()") and closes(w, "[]") and closes(w, "{}"),
    "tomita1": full("1+"),
    "tomita2": full("(10)+"),
    "tomita3": lambda w: w[-1] == "1" and not re.search("(?<!1)1(11)*(?!1).*(?<!0)0(00)*(?!0)", w),
    "tomita4": lambda w: w[-1] == "1" and "000" not in w,
    "tomita5": lambda w: w[0] == "1" and w.count("0") % 2 == w.count("1") % 2 == 0,
    "tomita6": lambda w: w[0] == "1" and (w.count("1") - w.count("0")) % 3 == 0,
    "tomita7": full("0*1*0*1+"),
    "z5": lambda w: w[0] == "a" and (w.count("a") - w.count("b")) % 5 == 0,
}
LONGEST = {2: 11, 3: 7, 4: 6, 5: 5, 6: 5}


@pytest.mark.parametrize("name", built_in_languages())
def test_membership_agrees_with_the_definition(name: str) -> None:
    language = get_language(name)
    rng = np.random.default_rng(0)
    words = [
        "".join(w) for n in range(1, LONGEST[len(language.alphabet)] + 1) for w in product(language.alphabet, repeat=n)
    ]
    words += ["".join(rng.choice(language.alphabet, size=n)) for n in rng.integers(11, 40, size=500)]
    inside = list(language.sample(200, max_length=40, rng=rng))
    # Strings that differ from a word by one symbol.
    words += inside + [word[:-1] for word in inside if len(word) > 1] + [word + language.alphabet[0] for word in inside]
    assert language.contains(words).tolist() == [MEMBERS[name](word) for word in words]


@pytest.mark.parametrize(
    ("name", "paper"),
    [*((name, False) for name in list_languages()), *((name, True) for name in list_languages(tag="paper"))],
)
def test_every_language_keeps_the_contract(name: str, paper: bool) -> None:
    assert [finding for finding in check(get_language(name, paper=paper)) if not finding.holds] == []


@pytest.mark.parametrize("name", built_in_languages())
def test_each_language_has_an_example_and_a_source(name: str) -> None:
    text = type(get_language(name)).__doc__ or ""
    assert ">>>" in text
    assert "Source:" in text


@pytest.mark.parametrize("name", built_in_languages())
def test_the_docstring_states_the_number_of_prompts(name: str) -> None:
    language = get_language(name)
    inside, outside = (len(language.prompts(kind)) for kind in ("id", "ood"))  # type: ignore[arg-type]
    text = " ".join((type(language).__doc__ or "").split())
    # The docstrings of the paper's languages state the numbers in other words.
    assert f"({language.prompt_length}: {inside} ID, {outside} OOD)" in text or "paper" in language.tags


@pytest.mark.parametrize("name", list_languages(level="regular"))
def test_the_tag_star_free_is_correct(name: str) -> None:
    language = get_language(name)
    table, accepting = minimal_automaton(name)
    assert aperiodic(table) == ("star-free" in language.tags)
    assert accepting.any()


def minimal_automaton(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the transitions and the accepting states of the automaton whose states are distinguished by suffixes."""
    language = get_language(name)
    alphabet = language.alphabet
    # The suffixes are long enough to distinguish the 60 elements of A_5 and the bounded stacks.
    ends = ["".join(w) for n in range(5 if len(alphabet) > 2 else 10) for w in product(alphabet, repeat=n)]
    rows: dict[bytes, int] = {}
    heads, table = [""], []
    rows[signature(language, "", ends)] = 0
    for head in heads:
        following = []
        for symbol in alphabet:
            key = signature(language, head + symbol, ends)
            if key not in rows:
                rows[key] = len(rows)
                heads.append(head + symbol)
            following.append(rows[key])
        table.append(following)
    return np.array(table), np.array([bool(head) and bool(language.contains([head])[0]) for head in heads])


def signature(language: object, head: str, ends: list[str]) -> bytes:
    return np.packbits(language.contains([head + end for end in ends])).tobytes()  # type: ignore[attr-defined]


def aperiodic(table: np.ndarray) -> bool:
    """Return whether no word permutes states in a cycle (Schützenberger): the powers of each word become constant."""
    generators = {tuple(column.tolist()) for column in table.T}
    monoid, frontier = set(generators), set(generators)
    while frontier:
        frontier = {tuple(g[q] for q in f) for f in frontier for g in generators} - monoid
        monoid |= frontier
        assert len(monoid) < 200_000
    for element in monoid:
        power, seen = element, []
        while power not in seen:
            seen.append(power)
            power = tuple(element[q] for q in power)
        if power != seen[-1]:
            return False
    return True


# The languages from the literature.


Definition = Callable[[str], bool]


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
LONGEST_IN_LITERATURE = {2: 12, 3: 8, 4: 7, 5: 6, 6: 5}


@pytest.mark.parametrize("name", LITERATURE)
def test_a_language_agrees_with_its_source(name: str) -> None:
    _, own, definition = LITERATURE[name]
    language = get_language(name)
    alphabet = language.alphabet
    longest = LONGEST_IN_LITERATURE[len(alphabet)]
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
