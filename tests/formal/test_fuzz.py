"""The verdicts on random completions, of any text and length, agree with definitions of one line.

``RULE_EXTRAP_FUZZ=1000000 pytest tests/formal/test_fuzz.py`` scores that number of completions instead of 20,000.

Each rule of each built-in language has two predicates: whether the rule holds, and whether the rule is viable. The
predicates follow the sentences of docs/languages.md, work on plain strings, and share no code with the package.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby
from typing import Any

import evaluate
import numpy as np
import pytest

from hf_ruleextrap import formal
from hf_ruleextrap.formal import Language
from hf_ruleextrap.languages import built_in_languages, get_language, list_languages
from hf_ruleextrap.metrics import RULE_EXTRAPOLATION

CASES = [
    *((name, False) for name in built_in_languages()),
    *((name, True) for name in list_languages(tag="paper")),
]
COMPLETIONS = int(os.environ.get("RULE_EXTRAP_FUZZ", "20000"))
ROWS = min(-(-COMPLETIONS // len(CASES)), 2500)
BATCHES = -(-COMPLETIONS // (len(CASES) * ROWS))
LONGEST = 20_000

TRUE, FALSE = (True, 1, 1.0, "true", " TRUE ", "1", np.True_, np.int8(1)), (False, 0, 0.0, "False", "0", np.False_)
STRANGE = [
    "\0",
    " ",
    "\n",
    "<eos>",
    "\u00e9",
    "\ud800",
    "\U0001f600",
    "\u0430",
    "x",
    "#",
    "2",
    "\x7f",
    "\x1a",
    "\u200b",
]


def completion(draw: random.Random, symbols: str, word: str) -> str:
    """Return random symbols, a suffix of a word, a word with a mistake, symbols with a foreign character, or bytes."""
    kind = draw.random()
    n = LONGEST if draw.random() < 0.002 else draw.choice([0, 1, 2, 3, 5, 8, 13, 40])
    text = "".join(draw.choices(symbols, k=draw.randint(n // 2, n)))
    if kind < 0.35:
        return text
    cut = draw.randint(0, len(word))
    if kind < 0.6:
        return word[cut:]
    if kind < 0.75:
        return word[cut:] + draw.choice(symbols) + word[:cut]
    if kind < 0.9:
        return text[:cut] + draw.choice(STRANGE) + text[cut:]
    return draw.randbytes(draw.randint(0, 12)).decode("latin-1")


def drawn(language: Language, seed: int) -> tuple[list[str], list[str], list[bool]]:
    """Return prompts, completions, and whether each completion finished."""
    draw = random.Random(f"{language.name} {language.paper} {seed}")
    symbols = "".join(language.alphabet)
    words = list(language.sample(200, max_length=24, rng=np.random.default_rng(seed)))
    prompts, completions = [], []
    for _ in range(ROWS):
        word = draw.choice(words)
        cut = draw.randint(0, len(word))
        other = "".join(draw.choices(symbols, k=draw.choice([0, 1, 2, 3, 4, 5, 8, 12])))
        prompts.append(draw.choice([word[:cut], other]))
        completions.append(draw.choice([word[cut:], *(completion(draw, symbols, word) for _ in range(4))]))
    return prompts, completions, [draw.random() < 0.8 for _ in range(ROWS)]


def expected(language: Language, prompts: Sequence[str], completions: Sequence[str]) -> dict[str, list[Any]]:
    """Return the verdict on each row, computed from the definitions alone."""
    symbols = set(language.alphabet)
    parsed = [set(text) <= symbols for text in completions]
    # The authors' code ignores characters outside the alphabet.
    texts = ["".join(s for s in text if s in symbols) if language.paper else text for text in completions]
    counted = [language.paper or known for known in parsed]
    word, alone, viable = [], [], []
    for place, (holds, can) in enumerate(DEFINITIONS[language.name]):
        of_completion = holds if language.paper else ON_COMPLETIONS.get((language.name, place), holds)
        word.append([known and holds(p + c) for known, p, c in zip(counted, prompts, texts, strict=True)])
        alone.append([known and of_completion(c) for known, c in zip(counted, texts, strict=True)])
        viable.append([can(p) for p in prompts])
    columns = {"word": word, "completion": alone, "open": viable}
    return {name: list(zip(*rows, strict=True)) for name, rows in columns.items()} | {
        "parsed": parsed,
        "empty": [not text for text in completions],
    }


def rows_of(matrix: np.ndarray) -> list[tuple[bool, ...]]:
    return [tuple(row) for row in matrix.tolist()]


@pytest.mark.timeout(0 if COMPLETIONS > 20_000 else 300)
@pytest.mark.parametrize(("name", "paper"), CASES)
def test_verdicts_are_those_of_the_definitions(name: str, paper: bool) -> None:
    language = get_language(name, paper=paper)
    assert len(DEFINITIONS[name]) == len(language.rules)
    draw = random.Random(0)
    for seed in range(BATCHES):
        prompts, completions, finished = drawn(language, seed)
        flags = [draw.choice(TRUE if flag else FALSE) for flag in finished]
        verdicts = formal.score(language, prompts, completions, flags)
        right = expected(language, prompts, completions)
        assert rows_of(verdicts.word) == right["word"]
        assert rows_of(verdicts.completion) == right["completion"]
        assert rows_of(verdicts.prompts.open) == right["open"]
        assert verdicts.parsed.tolist() == right["parsed"]
        assert verdicts.empty.tolist() == right["empty"]
        assert verdicts.finished.tolist() == finished


@pytest.mark.timeout(0 if COMPLETIONS > 20_000 else 300)
@pytest.mark.parametrize("name", built_in_languages())
def test_the_metric_agrees_with_the_definitions(name: str) -> None:
    language = get_language(name)
    metric = evaluate.load(RULE_EXTRAPOLATION, name, keep_in_memory=True)
    for seed in range(BATCHES):
        prompts, completions, finished = drawn(language, seed)
        result = metric.compute(predictions=completions, references=prompts, finished=finished)
        right = expected(language, prompts, completions)
        success = [is_finished and known for is_finished, known in zip(finished, right["parsed"], strict=True)]
        ood = (~language.viable(prompts)).tolist()
        headline = [
            held and all(holds or not can for holds, can in zip(word, can_hold, strict=True))
            for held, word, can_hold, outside in zip(success, right["word"], right["open"], ood, strict=True)
            if outside and any(can_hold)
        ]
        assert (result["n"], result["finished"]["hits"]) == (ROWS, sum(finished))
        assert (result["empty"]["hits"], result["unparsable"]["hits"]) == (
            sum(right["empty"]),
            ROWS - sum(right["parsed"]),
        )
        assert (result["headline"]["hits"], result["headline"]["n"]) == (sum(headline), len(headline))
        grammatical = [
            held and all(word) and bool(prompt + text)
            for held, word, prompt, text in zip(success, right["word"], prompts, completions, strict=True)
        ]
        assert result["grammatical"]["hits"] == sum(grammatical)
        for place, rates in enumerate(result["rules"].values()):
            for what in ("word", "completion"):
                held = sum(succeeds and row[place] for succeeds, row in zip(success, right[what], strict=True))
                assert (rates[what]["all"]["hits"], rates[what]["all"]["n"]) == (held, ROWS)
                assert (rates[what]["finished"]["hits"], rates[what]["finished"]["n"]) == (held, sum(finished))


# The definitions of the rules.


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
