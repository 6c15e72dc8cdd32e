"""What makes a language hard to extrapolate in: the headline rate against each measure of complexity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.evaluation.figures import new_figure
from hf_ruleextrap.formal.complexity import MEASURES, Complexity, complexity
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.train.results import Results

from .figures import COLOURS, MARKERS, rank_correlation
from .rows import architectures_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEWEST = 3
# Above this ratio of the largest to the smallest, the axis is logarithmic.
_WIDE = 30


@dataclass(frozen=True)
class Point:
    """A run.

    Attributes:
        language, architecture: their names.
        measure: of the language.
        rate: of OOD prompts on which every open rule holds.
    """

    language: str
    architecture: str
    measure: float
    rate: float


def draw_complexity(results: Sequence[Results]) -> tuple[Figure, str]:
    """A panel a measure: each run's OOD headline rate against its language's complexity; and the caption.

    The entropy rate is that of words of the run's ``max_length``. A run whose rate or measure is undefined is not in
    that panel; the caption has the numbers of those that are.
    """
    figure = new_figure(9.6, 6.4, "OOD prompts on which every open rule holds, by complexity of the language")
    names, found = architectures_of(results), []
    for axes, (measure, heading) in zip(figure.subplots(2, 2, sharey=True).flat, MEASURES.items(), strict=True):
        points = points_of(results, measure)
        _panel(axes, heading, points, names)
        found.append(f"{heading.split(' [')[0]} {correlations(points)}")
    figure.axes[1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    caption = (
        "Each point is a run. Spearman's rank correlation of rate and measure over runs, and over languages, of each "
        "the mean over its runs (95 % interval, bootstrap over languages; runs of one language share its measures): "
        f"{'; '.join(found)}."
    )
    return figure, caption


def points_of(results: Sequence[Results], measure: str) -> list[Point]:
    """The runs whose headline rate and whose language's measure are defined."""
    points = []
    for run in results:
        recipe, rate = run.recipe, run.best.kinds["ood"].report.headline.rate
        value = getattr(_complexity(recipe.language, recipe.paper, recipe.max_length), measure)
        if rate is not None and value is not None:
            points.append(Point(recipe.language, recipe.architecture, float(value), rate))
    return points


def correlations(points: Sequence[Point]) -> str:
    """Spearman's coefficient over runs, and over languages with its interval; says so where there is none.

    >>> correlations([Point("anbn", "lstm", 7.0, 0.5), Point("ban", "lstm", 5.0, 0.9)])
    'undefined (2 runs, 2 languages)'
    """
    groups: dict[tuple[str, float], list[float]] = {}
    for point in points:
        groups.setdefault((point.language, point.measure), []).append(point.rate)
    n = f"({len(points)} runs, {len(groups)} languages)"
    measures, rates = [measure for _, measure in groups], [mean(found) for found in groups.values()]
    if len(groups) < _FEWEST or len(set(measures)) < 2 or len(set(rates)) < 2:
        return f"undefined {n}"
    over_runs = rank_correlation([point.measure for point in points], [point.rate for point in points])[0]
    rho, low, high = rank_correlation(measures, rates)
    return f"{over_runs:.2f} over runs, {rho:.2f} [{low:.2f}, {high:.2f}] over languages {n}"


@lru_cache(maxsize=256)
def _complexity(language: str, paper: bool, max_length: int) -> Complexity:
    return complexity(get_language(language, paper=paper), max_length=max_length)


def _panel(axes: Axes, heading: str, points: Sequence[Point], names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        x, y = (
            np.array([getattr(point, what) for point in points if point.architecture == name])
            for what in ("measure", "rate")
        )
        axes.plot(x, y, MARKERS[i % len(MARKERS)], color=COLOURS[i % len(COLOURS)], ms=5, alpha=0.7, label=name)
    least = min((point.measure for point in points), default=0)
    if least > 0 and max(point.measure for point in points) > _WIDE * least:
        axes.set_xscale("log")
    axes.set_xlabel(heading)
    axes.set_ylim(-0.03, 1.05)
    axes.spines[["top", "right"]].set_visible(False)
