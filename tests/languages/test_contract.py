"""Every language keeps the contract, and agrees with a definition of one line that shares no code with the package."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product

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
    """Return the transitions and the accepting states of the automaton whose states are told apart by suffixes."""
    language = get_language(name)
    alphabet = language.alphabet
    # The suffixes are long enough to tell apart the 60 elements of A_5 and the bounded stacks.
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
