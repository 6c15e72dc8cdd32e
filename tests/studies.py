"""Studies of runs with chosen numbers, without training, and checks of their reports."""

from __future__ import annotations

import csv
import html.parser
import json
import math
import random
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


# A small study and its report.


T95 = {2: 12.7062, 3: 4.3027, 4: 3.1824, 5: 2.7764}

"""Quantiles of Student's t from a table, by the number of runs."""

AUTHORS_WAY = {
    "id_rule_1_accuracy": 0.8,
    "id_rule_2_accuracy": 0.7,
    "id_finished": 0.9,
    "ood_rule_1_accuracy": 0.3,
    "ood_rule_2_completion_accuracy": 0.6,
    "ood_finished": 0.5,
}
MASSES = {"both": 0.2, "only_r1": 0.01, "only_r2": 0.1, "neither": 0.3}


def mass_log(factor: float) -> list[dict[str, float]]:
    """Return the log of three evaluations and three training steps."""
    lines: list[dict[str, float]] = []
    for step in (10, 20, 30):
        cells = {f"eval_mass_{name}": mass * factor * step / 30 for name, mass in MASSES.items()}
        rates = {"eval_id_r1": 1.0, "eval_id_finished": 1.0, "eval_ood_headline": factor * step / 600}
        lines += [{"step": step, "loss": 1.0}, {"step": step, "eval_loss": 1.0, **rates, **cells}]
    return lines


def study_runs() -> list[Results]:
    """Return the runs of three languages. One run diverged; no completion of one run of an authors' recipe finished."""
    lengths = [at_length(n, hits, kind=kind) for n, hits in ((4, 15), (8, 5)) for kind in ("ood", "id")]
    return [
        results("anbn", "lstm", 0, outside=(8, 9, 18, 20), loss=0.30, mass_length=4, by_length=lengths),
        results("anbn", "lstm", 1, outside=(10, 11, 20, 20), loss=0.35, mass_length=4, by_length=lengths[:2]),
        results("anbn", "lstm", 2, outside=(15, 15, 17, 19), loss=float("nan"), mass_length=4, learned=False),
        results("anbn", "transformer", 0, outside=(0, 1, 0, 2), loss=0.9, mass_length=4, learned=False),
        results("csdyck", "lstm", 0, outside=(20, 20, 20, 20), loss=0.6, floor=None),
        results("csdyck", "lstm", 1, outside=(20, 20, 20, 20), loss=0.7, floor=None),
        results("bban", "lstm", 0, outside=(4, 4, 10, 20), loss=0.4),
        results("anbn", "lstm", 0, paper=AUTHORS_WAY, loss=0.04, floor=0.03),
        results("anbn", "lstm", 1, paper={"id_finished": 0.0, "ood_finished": 0.0}, loss=0.06, floor=0.03),
    ]


def claim_runs() -> list[Results]:
    """Return the runs of three languages, two architectures and five seeds, two of which have not learned."""
    rng, runs = random.Random(0), []
    for language, middle in (("ban", 18), ("anbn", 9), ("csdyck", 4)):
        for shift, architecture in enumerate(("lstm", "transformer")):
            for seed in range(5):
                hits = min(19, max(0, middle + 3 * shift + rng.randint(-3, 3)))
                learned = (language, architecture, seed) not in {("anbn", "lstm", 0), ("csdyck", "lstm", 1)}
                runs.append(
                    results(
                        language,
                        architecture,
                        seed,
                        outside=(hits, hits, hits, 20),
                        inside=(20 if learned else 10, 20, 20, 20),
                        excess=0.01 + rng.random() / 100 if learned else 0.3,
                        learned=learned,
                        learned_at=100 * rng.randint(1, 9),
                    )
                )
    return runs


def write_study(folder: Path) -> Path:
    """Write the store of `study_runs` with an interrupted and a failed run, and return its folder."""
    runs = study_runs()
    logs = [mass_log(factor) if run.recipe.mass_length else [] for factor, run in enumerate(runs, start=1)]
    write_store(folder, runs, logs)
    (folder / "cut").mkdir()
    (folder / "cut" / "recipe.yaml").write_text("language: anbn\n")
    (folder / "failures").mkdir()
    (folder / "failures" / "anbn-gpt2-seed0-00000000.txt").write_text("Traceback\nMemoryError: no | memory\n")
    return folder


def numbers(report: Path, **keys: str) -> dict[str, dict[str, str]]:
    """Return the lines of one row of report.csv by their column."""
    with (report / "report.csv").open(encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if all(line[key] == value for key, value in keys.items())]
    assert len({(line["model"], line["variant"], line["source"]) for line in lines}) == 1
    return {line["column"]: line for line in lines}


def check(line: dict[str, str], values: Sequence[float], *, rate: bool = True) -> None:
    """Check that a line of report.csv has the mean, the std, n and the t interval of these values."""
    mean = statistics.mean(values)
    assert float(line["mean"]) == pytest.approx(mean)
    assert line["n"] == str(len(values))
    if len(values) == 1:
        assert line["std"] == line["low"] == line["high"] == ""
        return
    std = statistics.stdev(values)
    assert float(line["std"]) == pytest.approx(std, abs=1e-12)
    half = T95[len(values)] * std / math.sqrt(len(values))
    low, high = (max(0.0, mean - half), min(1.0, mean + half)) if rate else (mean - half, mean + half)
    assert (float(line["low"]), float(line["high"])) == pytest.approx((low, high), abs=1e-4)


def slow_ranks(values: Sequence[float]) -> list[float]:
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    a, b = ([value - statistics.mean(values) for value in values] for values in (x, y))
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


class Balance(html.parser.HTMLParser):
    """A parser that checks that every open tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # the signature is html's
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def compile_latex(text: str, folder: Path) -> None:
    """Compile a text with LaTeX. The test is skipped on a machine without pdflatex."""
    engine = shutil.which("pdflatex")
    if engine is None:
        pytest.skip("no pdflatex here")
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,graphicx}\\begin{document}"
    (folder / "t.tex").write_text(f"{head}\n{text}\n\\end{{document}}\n", encoding="utf-8")
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    process = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    assert process.returncode == 0, process.stdout[-2000:]
