"""The runs of the committed studies, for the demo's view of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_ruleextrap.errors import RuleExtrapError, counted, unknown
from hf_ruleextrap.evaluation.references import CEILING, UNIFORM
from hf_ruleextrap.report.read import read_study
from hf_ruleextrap.report.record import HEADLINE, Run
from hf_ruleextrap.report.rows import variants
from hf_ruleextrap.report.store import FILE

ALL = "all"
"""The choice of all languages, or of all architectures."""

COLUMNS = ("language", "model", "seed", "learned", "test loss", "every open rule", "95 % interval", "chance", "ceiling")
"""The headings of the table of runs."""

COMMITTED = Path(__file__).parents[2] / "docs" / "results"
"""The folder of the committed studies in a clone of the repository."""

TEST_LOSS = "test loss, in nats per symbol"
RATE = "every open rule holds"
STEP, PROBABILITY = "optimizer step", "probability"

_MASSES = {"both": "both rules", "only_r1": "R1 alone", "only_r2": "R2 alone", "neither": "neither rule"}


@dataclass(frozen=True)
class Point:
    """A point of a chart.

    Attributes:
        x, y: The coordinates.
        series: The name of the point's colour.
        note: The text that the point shows under the pointer.
        standard: Whether the run has the standard recipe of its architecture; other points are hollow.
    """

    x: float
    y: float
    series: str
    note: str = ""
    standard: bool = True


@dataclass(frozen=True)
class StudyView:
    """The part of a study that the view shows.

    Attributes:
        sentence: The mean rate over the chosen runs that learned their language from words alone, beside chance.
        table: A row for each run, with the columns `COLUMNS`.
        points: For each run its test loss, its rate and its model.
        masses: The mean probability of short words by the rules that they keep, at each step that all runs of the mean
            share: the runs that learned their language from words alone, or the chosen runs if there are none. Empty
            for several languages, and for runs that do not record these probabilities.
    """

    sentence: str
    table: list[list[Any]]
    points: list[Point]
    masses: list[Point]


def find_studies(folder: str | Path = COMMITTED) -> dict[str, Path]:
    """Return the Parquet files of the studies in a folder by the names of the studies."""
    return {path.parent.name: path for path in sorted(Path(folder).glob(f"*/{FILE}"))}


def read_runs(path: Path) -> list[Run]:
    """Return the runs of a study, ordered by language, model and seed."""
    return sorted(
        read_study([path]).runs, key=lambda run: (run.recipe.language, run.recipe.architecture, run.recipe.seed)
    )


def choices_of(runs: list[Run]) -> tuple[list[str], list[str]]:
    """Return the languages and the architectures of some runs, each after the choice `ALL`."""
    languages = sorted({run.recipe.language for run in runs})
    return [ALL, *languages], [ALL, *dict.fromkeys(sorted(run.recipe.architecture for run in runs))]


def view_study(runs: list[Run], language: str = ALL, architecture: str = ALL) -> StudyView:
    """Return the view of the runs of one language and one architecture.

    Raises:
        RuleExtrapError: If no run has this language and architecture.
    """
    for what, name, allowed in zip(("language", "model"), (language, architecture), choices_of(runs), strict=True):
        if name not in allowed:
            raise unknown(what, name, allowed)
    chosen = [
        run for run in runs if language in (ALL, run.recipe.language) and architecture in (ALL, run.recipe.architecture)
    ]
    if not chosen:
        raise RuleExtrapError(f"the study has no run of {language} with {architecture}: choose another pair")
    settings = _settings_of(runs)
    points = [
        Point(run.test_loss, rate, run.recipe.architecture, _title_of(run, settings), not settings[run.key])
        for run in chosen
        if (rate := run.ood_rate) is not None
    ]
    return StudyView(_sentence(chosen), [_row(run, settings[run.key]) for run in chosen], points, _masses(chosen))


def _sentence(runs: list[Run]) -> str:
    """Return the mean rate of the runs that learned their language, without runs that trained on OOD prompts."""
    on_words = [run for run in runs if run.recipe.objective == "likelihood"]
    learned = [run for run in on_words if run.learned]
    if not on_words:
        return "These runs trained on OOD prompts, so that their rates are no extrapolation."
    sentence = f"{len(learned)} of {counted(len(on_words), 'run')} learned the language"
    rates = [rate for run in learned if (rate := run.ood_rate) is not None]
    chances = [rate for run in learned if (rate := run.reference_rate(UNIFORM)) is not None]
    if not rates:
        return f"{sentence}."
    sentence += f" and keep every open rule after {_mean(rates):.2f} of the OOD prompts on average"
    return f"{sentence}; uniformly random symbols after {_mean(chances):.2f}." if chances else f"{sentence}."


def _settings_of(runs: list[Run]) -> dict[str, str]:
    """Return, for the key of each run, the settings that differ from the standard recipe of its architecture."""
    return {
        run.key: setting
        for language in {run.recipe.language for run in runs}
        for (_, setting), group in variants([run for run in runs if run.recipe.language == language]).items()
        for run in group
    }


def _title_of(run: Run, settings: dict[str, str]) -> str:
    recipe, setting = run.recipe, settings[run.key]
    return f"{recipe.language}, {recipe.architecture}, seed {recipe.seed}{setting and f', {setting}'}"


def _row(run: Run, setting: str) -> list[Any]:
    rate = run.rates[HEADLINE]
    interval = "" if rate.low is None or rate.high is None else f"{rate.low:.2f} to {rate.high:.2f}"
    numbers = (rate.rate, run.reference_rate(UNIFORM), run.reference_rate(CEILING))
    headline, chance, ceiling = ("" if number is None else f"{number:.2f}" for number in numbers)
    recipe = run.recipe
    return [
        recipe.language,
        f"{recipe.architecture} ({setting})" if setting else recipe.architecture,
        recipe.seed,
        {True: "yes", False: "no", None: ""}[run.learned],
        f"{run.test_loss:.4f}",
        headline,
        interval,
        chance,
        ceiling,
    ]


def _masses(runs: list[Run]) -> list[Point]:
    if len({run.recipe.language for run in runs}) > 1:
        # A mean over languages would say nothing about any of them.
        return []
    runs = [run for run in runs if run.learned and run.recipe.objective == "likelihood"] or runs
    # Runs of different lengths share some steps alone, and a mean over changing sets of runs would jump.
    shared = set.intersection(*({masses.step for masses in run.masses} for run in runs))
    by_step: dict[tuple[int, str], list[float]] = {}
    for run in runs:
        for masses in (each for each in run.masses if each.step in shared):
            for name, words in _MASSES.items():
                by_step.setdefault((masses.step, words), []).append(getattr(masses, name))
    return [
        Point(step, _mean(shares), words, f"step {step}: {_mean(shares):.3f}")
        for (step, words), shares in sorted(by_step.items())
    ]


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)
