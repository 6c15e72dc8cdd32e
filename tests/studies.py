"""Results with chosen numbers, without any training, for the tests of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_ruleextrap import get_language
from hf_ruleextrap.evaluation import Condition, Evaluation, Outcome
from hf_ruleextrap.evaluation.likelihood import Likelihood
from hf_ruleextrap.evaluation.results import SymbolSettings
from hf_ruleextrap.formal import Kind, Rate, Report
from hf_ruleextrap.formal.scoring import RuleReport, Split
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import LengthRates, PaperColumns, Results, Timing, Training

PROMPTS = 20
# The hits of each reference among the prompts: headline, R1, R2 on the completion, finished.
REFERENCES = {
    "uniform": (3, 4, 10, 19),
    "always-stop": (5, 6, 20, 20),
    "3-gram": (2, 2, 15, 18),
    "ceiling": (19, 20, 20, 20),
}


def rate(hits: int, n: int = PROMPTS) -> Rate:
    return Rate.count(np.arange(n) < hits)


def report(language: str, counts: Sequence[int]) -> Report:
    """Return a report of 20 completions with the numbers that keep every open rule, R1 and R2, and that finished."""
    headline, r1, r2, finished = counts
    splits = [Split(rate(hits), rate(min(hits, finished), finished)) for hits in (r1, r2)]
    rules = {
        rule.name: RuleReport(rule.summary, split, split)
        for rule, split in zip(get_language(language).rules, [*splits, splits[0]], strict=False)
    }
    return Report(language, PROMPTS, rate(headline), rate(finished), rate(0), rate(0), rate(0), rules)


def evaluation(language: str, inside: Sequence[int], outside: Sequence[int]) -> Evaluation:
    references = {name: report(language, counts) for name, counts in REFERENCES.items()}
    kinds: dict[Kind, Sequence[int]] = {"id": inside, "ood": outside}
    return Evaluation(
        model="m",
        language=language,
        protocol="symbols",
        conditions=[
            Condition(
                name=kind,
                kind=kind,
                settings=SymbolSettings(prompt_length=8, max_new_symbols=16),
                greedy=Outcome(report=report(language, counts)),
                references=references,
            )
            for kind, counts in kinds.items()
        ],
    )


def results(
    language: str = "anbn",
    architecture: str = "lstm",
    seed: int = 0,
    *,
    outside: Sequence[int] = (10, 10, 18, 20),
    inside: Sequence[int] = (20, 20, 20, 20),
    loss: float = 0.5,
    floor: float | None = 0.25,
    excess: float = 0.01,
    excess_error: float = 0.001,
    learned: bool | None = True,
    learned_at: int | None = 20,
    paper: Mapping[str, float] | None = None,
    by_length: Sequence[LengthRates] = (),
    **recipe: Any,
) -> Results:
    """Return the results of one run.

    With ``paper``, the run is of an authors' recipe, and its best check is 0.1 better than its lowest loss. With
    ``learned`` None, the results are of a version that did not record whether a run has learned.
    """
    keys = {"language": language, "architecture": architecture, "seed": seed, "paper": paper is not None, **recipe}
    measured = evaluation(language, inside, outside)
    errors = (None, None) if floor is None else (excess, excess_error)
    plain, padded = Likelihood(loss, 0.9, 100, floor, *errors), Likelihood(loss / 2, 0.9, 200, floor and floor / 2)
    learning = {} if learned is None else {"learned": learned, "learned_at": learned_at if learned else None}
    columns = dict(paper or {})
    return Results(
        recipe=Recipe.of(keys, "test"),
        training=Training(
            parameters=1000,
            fitted={},
            steps=100,
            best_step=50,
            stopped_early=False,
            train_words=10,
            validation_words=5,
            test_words=5,
            **learning,
        ),
        validation=plain if paper is None else replace(padded, loss=padded.loss - 0.01),
        test=plain,
        test_without_padding=plain,
        test_with_padding=padded,
        divergence=None,
        best=measured,
        last=measured,
        by_length=list(by_length),
        paper=PaperColumns(best_check={name: value + 0.1 for name, value in columns.items()}, minimum_loss=columns),
        versions={"torch": "2"},
        git_commit=None,
        timing=Timing(train_seconds=30.0, evaluate_seconds=6.0, processes=1, device="cpu", threads=1),
    )


def at_length(length: int, hits: int, *, kind: Any = "ood") -> LengthRates:
    return LengthRates(length=length, kind=kind, headline=rate(hits), finished=rate(20), chance=rate(2))


def write_store(folder: Path, runs: Sequence[Results], logs: Sequence[Sequence[Mapping[str, Any]]] = ()) -> Path:
    """Write a store with a numbered folder for each run, and return its folder."""
    for i, run in enumerate(runs):
        place = folder / f"{i:02}"
        place.mkdir(parents=True)
        run.write(place)
        if logs:
            (place / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in logs[i]), encoding="utf-8")
    return folder
