"""Each rule of each built-in language as two predicates of one line: whether the rule holds, and whether it is viable.

The predicates follow the sentences of docs/languages.md, work on plain strings, and share no code with the package.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate, groupby

Predicate = Callable[[str], bool]


def always(_: str) -> bool:
    return True


def full(pattern: str) -> Predicate:
    return lambda w: re.fullmatch(pattern, w) is not None


def starts_with(symbol: str) -> tuple[Predicate, Predicate]:
    return lambda w: w[:1] == symbol, lambda w: w[:1] in ("", symbol)


def ends_with(symbol: str) -> tuple[Predicate, Predicate]:
    return lambda w: w[-1:] == symbol, always


def as_many(*symbols: str) -> tuple[Predicate, Predicate]:
    return lambda w: len({w.count(symbol) for symbol in symbols}) == 1, always


def never(factor: str) -> tuple[Predicate, Predicate]:
    return lambda w: factor not in w, lambda w: factor not in w


def matches(pattern: str, prefix: str = "") -> tuple[Predicate, Predicate]:
    return full(pattern), full(prefix or pattern)


def depths(word: str, opening: str, closing: str) -> list[int]:
    return list(accumulate(((s in opening) - (s in closing) for s in word), initial=0))


def balanced(opening: str, closing: str) -> tuple[Predicate, Predicate]:
    def viable(word: str) -> bool:
        return min(depths(word, opening, closing)) >= 0

    return lambda w: viable(w) and depths(w, opening, closing)[-1] == 0, viable


def most_open(word: str) -> int:
    """Return the largest number of brackets that are open at once. An unmatched closing bracket changes nothing."""
    heights = depths(word, "([", ")]")
    return max(height - lowest for height, lowest in zip(heights, accumulate(heights, min), strict=True))


def unmatched(word: str) -> str:
    while (shorter := word.replace("()", "").replace("[]", "")) != word:
        word = shorter
    return word


NESTED: tuple[Predicate, Predicate] = (lambda w: not unmatched(w), lambda w: not set(unmatched(w)) & set(")]"))


def product(word: str, images: dict[str, str]) -> str:
    """Return the product of the permutations of a word, as the string of the images of the points."""
    points = "".join(sorted(images["a"]))
    for symbol in word:
        points = "".join(images[symbol][int(point)] for point in points)
    return points


def identity(images: dict[str, str]) -> tuple[Predicate, Predicate]:
    return lambda w: product(w, images) == "".join(sorted(images["a"])), always


def reads_right(word: str) -> bool:
    """Return whether the bit after each r is the bit after the last w before it."""

    def written(end: int) -> str:
        zero, one = word.rfind("w0", 0, end), word.rfind("w1", 0, end)
        return "0" if zero > one else "1" if one > zero else ""

    return all(read[1] == written(read.start()) for read in re.finditer("r([01])", word))


def no_odd_zeros_after_odd_ones(word: str) -> bool:
    odd = "".join(symbol for symbol, run in groupby(word) if len(list(run)) % 2)
    return "0" not in odd.partition("1")[2]


def three_blocks(word: str) -> tuple[int, int, int]:
    head, _, tail = word.partition("b")
    return len(head), word.count("b"), tail.count("a")


ANBN = [as_many("a", "b"), matches("a*b*")]
BRACKETS = [balanced("[", "]"), balanced("(", ")")]

# Two predicates (holds, viable) for each rule, R1 first.
DEFINITIONS: dict[str, list[tuple[Predicate, Predicate]]] = {
    "a5": [identity({"a": "12034", "b": "12340"}), starts_with("a")],
    "aastar": [(lambda w: len(w) % 2 == 0, always), never("b")],
    "abn": [as_many("a", "b"), matches("(ab)*a?")],
    "anbm": [ends_with("b"), matches("a+b*", "a*|a+b*")],
    "anbmcnm": [(lambda w: 2 * w.count("c") == len(w), always), matches("a*b*c*")],
    "anbn": ANBN,
    "anbnan": [
        (
            lambda w: len(set(three_blocks(w))) == 1,
            lambda w: "b" not in w or max(three_blocks(w)) == three_blocks(w)[0],
        ),
        matches("a*b*a*"),
    ],
    "anbncn": [as_many("a", "b", "c"), matches("a*b*c*")],
    "anbncndn": [as_many("a", "b", "c", "d"), matches("a*b*c*d*")],
    "ban": [(lambda w: w.count("a") % 2 == 0, always), starts_with("b")],
    "bban": [(lambda w: len(w.rpartition("b")[2]) % 2 == 0, always), matches("b+a*", "(b+a*)?")],
    "brackets": [as_many("[", "]"), (balanced("[", "]")[1], balanced("[", "]")[1])],
    "csdyck": BRACKETS,
    "dyck": [*BRACKETS, NESTED],
    "dyck1d3": [
        as_many("(", ")"),
        (lambda w: {*depths(w, "(", ")")} <= {0, 1, 2, 3}, lambda w: {*depths(w, "(", ")")} <= {0, 1, 2, 3}),
    ],
    "dyck2d3": [NESTED, (lambda w: most_open(w) <= 3, lambda w: most_open(w) <= 3)],
    "flipflop": [
        (lambda w: reads_right(w) and w[-2:] in ("r0", "r1"), reads_right),
        matches("w[01]([wri][01])*", "(w[01]([wri][01])*[wri]?|w)?"),
    ],
    "majority": [(lambda w: w.count("a") > w.count("b"), always), starts_with("b")],
    "markedcopy": [
        (lambda w: "#" in w and w.partition("#")[0] == w.rpartition("#")[2], always),
        (lambda w: w.count("#") == 1, lambda w: w.count("#") <= 1),
    ],
    "markedreversal": [
        (lambda w: "#" in w and w.partition("#")[0] == w.rpartition("#")[2][::-1], always),
        (lambda w: w.count("#") == 1, lambda w: w.count("#") <= 1),
    ],
    "mod3": [(lambda w: w.count("a") % 3 == 0, always), matches("a*b*")],
    "parentheses": [as_many("(", ")"), (balanced("(", ")")[1], balanced("(", ")")[1])],
    "parity": [(lambda w: w.count("1") % 2 == 0, always), never("00")],
    "s3": [identity({"a": "102", "b": "120"}), starts_with("a")],
    "separated": [balanced("[", "]"), matches(r"[()]*[\[\]]*"), balanced("(", ")")],
    "shuffle3": [*BRACKETS, balanced("{", "}")],
    "tomita1": [ends_with("1"), never("0")],
    "tomita2": [ends_with("0"), matches("(10)*1?")],
    "tomita3": [
        ends_with("1"),
        (
            no_odd_zeros_after_odd_ones,
            # A run of 0 at the end may still become even.
            lambda w: no_odd_zeros_after_odd_ones(w) or no_odd_zeros_after_odd_ones(w + "0"),
        ),
    ],
    "tomita4": [ends_with("1"), never("000")],
    "tomita5": [(lambda w: w.count("0") % 2 == w.count("1") % 2 == 0, always), starts_with("1")],
    "tomita6": [(lambda w: (w.count("1") - w.count("0")) % 3 == 0, always), starts_with("1")],
    "tomita7": [ends_with("1"), matches("0*1*0*1*")],
    "z5": [(lambda w: (w.count("a") - w.count("b")) % 5 == 0, always), starts_with("a")],
}

# Rules that have another meaning for a completion alone, by language and index. With `paper`, they do not.
ON_COMPLETIONS: dict[tuple[str, int], Predicate] = {("bban", 1): full("b*a*")}
