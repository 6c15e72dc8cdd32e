"""The verdicts on random completions, of any text and length, agree with definitions of one line.

``RULE_EXTRAP_FUZZ=1000000 pytest tests/formal/test_fuzz.py`` scores that number of completions instead of 20,000.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import evaluate
import numpy as np
import pytest
from rule_definitions import DEFINITIONS, ON_COMPLETIONS

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
