"""Calls with arguments of any type give a result, or one line that says what is wrong.

``RULE_EXTRAP_CALLS=40000 pytest tests/metrics/test_wrong_types.py`` makes that number of calls instead of 2,000.
"""

from __future__ import annotations

import os
import random
import traceback
from array import array
from collections import Counter, OrderedDict, UserList, deque
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import evaluate
import numpy as np
import pandas as pd
import pytest
import torch

from hf_ruleextrap import score
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Report
from hf_ruleextrap.formal.words import WordBatch
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.metrics import RULE_EXTRAPOLATION

CALLS = int(os.environ.get("RULE_EXTRAP_CALLS", "2000"))


class Shouts:
    """An object whose text has several lines and whose methods all fail."""

    def __repr__(self) -> str:
        return "Shouts\nover\nlines"

    def __len__(self) -> int:
        raise RuntimeError("no\nlength")

    def __iter__(self) -> Any:
        raise RuntimeError("no\nrows")

    def __getitem__(self, row: int) -> Any:
        raise RuntimeError("no\nrow")


class Silent:
    """An object whose text cannot be computed."""

    def __repr__(self) -> str:
        raise RuntimeError("nothing\nto show")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("nothing\nto compare")

    __hash__ = None  # type: ignore[assignment]


class Liar:
    """A sequence whose stated length is too large."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Any:
        return iter(["a"])

    def __getitem__(self, row: int) -> str:
        return ["a"][row]


class Colour(Enum):
    RED = "a"


class Text(str):
    """A subclass of str."""


TABLE = datasets.Dataset.from_dict({"text": ["a", "b"], "flag": [True, False], "number": [1, 2], "rows": [[0], [1]]})
RAGGED = np.empty(2, object)
RAGGED[:] = [[0], [0, 1]]
CYCLE: list[Any] = ["a"]
CYCLE.append(CYCLE)

# Each call creates a new object, because a generator can be read only once.
ROWS: list[Callable[[], Any]] = [
    lambda: None,
    lambda: Ellipsis,
    lambda: NotImplemented,
    lambda: 0,
    lambda: -1,
    lambda: 10**30,
    lambda: 1.5,
    lambda: float("nan"),
    lambda: 1j,
    lambda: Decimal("1.5"),
    lambda: Fraction(1, 3),
    lambda: True,
    lambda: "",
    lambda: "ab",
    lambda: "a\nb",
    lambda: Text("ab"),
    lambda: b"ab",
    lambda: bytearray(b"ab"),
    lambda: memoryview(b"ab"),
    lambda: array("i", [0, 1]),
    list,
    lambda: [None],
    lambda: ["a", None],
    lambda: [None, "a"],
    lambda: [0, 1],
    lambda: [1.5, 0.5],
    lambda: [b"a", b"b"],
    lambda: [{}, {}],
    lambda: [{"a": 1}, {1: "a"}],
    lambda: [{"a"}, {"b"}],
    lambda: [[], []],
    lambda: [[0], [1]],
    lambda: [[0], [0, 1]],
    lambda: [[0], [[1]]],
    lambda: [[0, [1]], [0]],
    lambda: [["a"], ["b"]],
    lambda: [["a"], [1]],
    lambda: [[1], ["a"]],
    lambda: [[None], [None]],
    lambda: [[True], [False]],
    lambda: [[10**30], [0]],
    lambda: [[-(10**30)], [0]],
    lambda: [[99], [0]],
    lambda: [[-1], [0]],
    lambda: [[1.5], [0]],
    lambda: [(), (1,)],
    lambda: [object(), object()],
    lambda: [int, str],
    lambda: [Shouts(), Shouts()],
    lambda: [Silent(), Silent()],
    lambda: [Shouts(), "a"],
    lambda: ["a", Silent()],
    lambda: [Colour.RED, Colour.RED],
    lambda: [date(2024, 1, 1)] * 2,
    lambda: ["a", "b"],
    lambda: ("a", "b"),
    lambda: [Text("a"), Text("b")],
    lambda: ["a\n", "\r\nb"],
    lambda: ["\ud800", "a\0"],
    lambda: ["\n" * 100, "é\n"],
    dict,
    lambda: {"a": 1, "b": 2},
    lambda: OrderedDict(a=1, b=2),
    lambda: Counter("ab"),
    lambda: {0: "a", 1: "b"},
    lambda: {"a", "b"},
    lambda: frozenset("ab"),
    lambda: (symbol for symbol in "ab"),
    lambda: iter(["a", "b"]),
    lambda: map(str, "ab"),
    lambda: zip("ab", "ab", strict=True),
    lambda: {"a": 1, "b": 2}.keys(),
    lambda: {0: "a", 1: "b"}.values(),
    lambda: deque(["a", "b"]),
    lambda: UserList(["a", "b"]),
    lambda: range(2),
    lambda: slice(2),
    lambda: object(),
    lambda: int,
    lambda: len,
    lambda: Path("a"),
    lambda: SimpleNamespace(ndim="two", __len__=2),
    Shouts,
    Silent,
    Liar,
    lambda: CYCLE,
    lambda: np.array(3),
    lambda: np.array("ab"),
    lambda: np.array(None),
    lambda: np.zeros(0),
    lambda: np.zeros(2),
    lambda: np.zeros(2, int),
    lambda: np.zeros((2, 3)),
    lambda: np.zeros((2, 3), int),
    lambda: np.zeros((2, 3), np.uint64) + np.uint64(2**63),
    lambda: np.zeros((2, 3), np.int8),
    lambda: np.zeros((2, 0), int),
    lambda: np.zeros((0, 3), int),
    lambda: np.zeros((2, 2, 2), int),
    lambda: np.zeros((2, 2), bool),
    lambda: np.zeros((2, 2), complex),
    lambda: np.zeros((2, 2), object),
    lambda: np.zeros(2, [("x", "i4")]),
    lambda: np.zeros((2, 1), [("x", "i4")]),
    lambda: np.array(["a", "b"]),
    lambda: np.array(["a", "b"], object),
    lambda: np.array(["a", None], object),
    lambda: np.array([None, "a"], object),
    lambda: np.array([b"a", b"b"]),
    lambda: np.array([["a"], ["b"]]),
    lambda: np.array([["a"], [1]], object),
    lambda: np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"),
    lambda: np.ma.masked_array([0, 1], [True, False]),
    lambda: RAGGED,
    lambda: [np.array([0]), np.array([1.5])],
    lambda: [np.array(1), np.array(0)],
    lambda: [np.str_("a"), np.str_("b")],
    lambda: [np.int64(0), np.int64(1)],
    lambda: pd.Series(["a", "b"]),
    lambda: pd.Series(["a", "b"], index=[5, 6]),
    lambda: pd.Series(["a", None], index=["x", "y"]),
    lambda: pd.Series(["a", "b"], dtype="string"),
    lambda: pd.Series([pd.NA, "b"], dtype="string"),
    lambda: pd.Series([0, 1]),
    lambda: pd.Series([[0], [1]], index=[3, 4]),
    lambda: pd.Series([], dtype=object),
    lambda: pd.Index(["a", "b"]),
    lambda: pd.Categorical(["a", "b"]),
    lambda: pd.DataFrame({"a": ["a", "b"]}),
    lambda: pd.DataFrame({"a": [0, 1]}),
    lambda: TABLE,
    lambda: TABLE["text"],
    lambda: TABLE["number"],
    lambda: TABLE["rows"],
    lambda: TABLE["flag"],
    lambda: datasets.Dataset.from_dict({"text": ["a", None]})["text"],
    lambda: torch.zeros(2, 3, dtype=torch.long),
    lambda: torch.zeros(2),
    lambda: torch.tensor(1),
    lambda: torch.zeros(2, 2, device="meta"),
    lambda: torch.zeros(2, 2, requires_grad=True),
    lambda: torch.zeros(2, 2).to_sparse(),
    lambda: [torch.tensor([0]), torch.tensor([1, 0])],
    lambda: [torch.tensor([0.5]), torch.tensor([1])],
    lambda: WordBatch.from_strings(["a", "b"]),
    lambda: get_language("anbn").label(["a", "b"]),
    lambda: get_language("dyck").label(["(", "["]),
    lambda: get_language("dyck"),
]
FLAGS: list[Callable[[], Any]] = [
    *ROWS,
    lambda: [True, False],
    lambda: [True],
    lambda: ["false", "TRUE"],
    lambda: ["yes", "no"],
    lambda: [2, 3],
    lambda: [float("nan"), 1.0],
    lambda: np.array([True, False]),
    lambda: np.array([[True], [False]]),
    lambda: np.array([1.0, 0.0]),
    lambda: torch.tensor([True, False]),
    lambda: pd.Series([True, False], index=[4, 5]),
    lambda: pd.array([True, None], dtype="boolean"),
]
SAMPLES: list[Callable[[], Any]] = [
    *ROWS,
    lambda: 1,
    lambda: 2,
    lambda: np.int64(1),
    lambda: torch.tensor(1),
    lambda: 2.0,
]
LANGUAGES: list[Callable[[], Any]] = [
    *ROWS,
    lambda: "nope",
    lambda: "an\nbn",
    lambda: "nope" * 1000,
    lambda: "random-regular-x",
    lambda: "none.py:NoSuch",
    lambda: "a\0.py:NoSuch",
    lambda: np.str_("anbn"),
    lambda: type(get_language("anbn")),
    lambda: ["anbn"],
]
GOOD: list[Callable[[], Any]] = [lambda: ["a", "b"], lambda: ["ab", "ba"], lambda: ["a"]]


def pick(draw: random.Random, wrong: list[Callable[[], Any]], right: list[Callable[[], Any]], share: float) -> Any:
    return draw.choice(wrong if draw.random() < share else right)()


def fault(call: Callable[[random.Random], object], draw: random.Random, result_type: type) -> str:
    """Return a description of the fault of a call, or an empty string after a result or one clear line."""
    try:
        result = call(draw)
    except RuleExtrapError as error:
        message = str(error)
        return "" if message.isprintable() and len(message) < 1000 else f"message {message[:200]!r}"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} {str(error)[:80]!r} at {place.filename}:{place.lineno}"
    return "" if isinstance(result, result_type) else f"a result of type {type(result).__name__}"


def faults(calls: int, call: Callable[[random.Random], object], result_type: type) -> dict[str, int]:
    draw = random.Random(0)
    kinds = Counter(fault(call, draw, result_type) for _ in range(calls))
    return {kind: number for kind, number in kinds.items() if kind}


@pytest.mark.filterwarnings("ignore")
def test_score_gives_a_result_or_one_line() -> None:
    def call(draw: random.Random) -> object:
        language = pick(draw, LANGUAGES, [lambda: "anbn"], 0.05)
        prompts, completions = pick(draw, ROWS, GOOD, 0.5), pick(draw, ROWS, GOOD, 0.5)
        options = {"samples": pick(draw, SAMPLES, [lambda: 1], 0.9)} if draw.random() < 0.2 else {}
        return score(language, prompts, completions, pick(draw, FLAGS, [lambda: None], 0.4), **options)

    assert faults(CALLS, call, Report) == {}


@pytest.mark.filterwarnings("ignore")
def test_the_metric_gives_a_result_or_one_line() -> None:
    metric = evaluate.load(RULE_EXTRAPOLATION, "anbn", keep_in_memory=True)

    def call(draw: random.Random) -> object:
        rows = {"predictions": pick(draw, ROWS, GOOD, 0.5), "references": pick(draw, ROWS, GOOD, 0.5)}
        if draw.random() < 0.4:
            rows["finished"] = pick(draw, FLAGS, [lambda: [True, False]], 0.8)
        if draw.random() < 0.2:
            rows["samples"] = pick(draw, SAMPLES, [lambda: 1], 0.9)
        if draw.random() < 0.1:
            metric.add(prediction=pick(draw, ROWS, GOOD, 0.9), reference="a", finished=pick(draw, FLAGS, GOOD, 0.9))
        return metric.compute(**rows)

    assert faults(CALLS // 2, call, dict) == {}
    # The rows of the mistakes are not kept.
    assert metric.compute(predictions=["b"], references=["baa"])["n"] == 1
