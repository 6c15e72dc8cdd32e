"""What makes a language hard to extrapolate in: the headline rate against each measure of complexity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ruleextrap.formal.complexity import MEASURES, Complexity, complexity

from .answer import Point
from .rows import language_of
from .spread import Correlation, rank_correlation
from .style import Look, Model, Picture, looks, ordered, panels, rho, save, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEWEST = 3
# Above this ratio of the largest to the smallest, the axis is logarithmic.
_WIDE = 30


def complexities(found: Sequence[Point], folder: Path) -> Picture | str:
    """A panel a measure: each run's OOD headline rate against its language's complexity.

    The entropy rate is that of words of the run's ``max_length``. A run whose measure is undefined is not in that
    panel.
    """
    if len({point.language for point in found}) < _FEWEST:
        return f"No figure of rate against complexity: it takes runs of {_FEWEST} languages."
    models = ordered(point.model for point in found)
    look = looks(models)
    title = "Complexity of the language against rule extrapolation"
    figure, axes = panels(len(MEASURES), title, y="OOD, every open rule holds", columns=2)
    for panel, (measure, heading) in zip(axes, MEASURES.items(), strict=True):
        measured = measured_by(found, measure)
        _draw(panel, measured, look)
        panel.set_xlabel(heading)
        panel.set_title(rho(over_languages(measured)))
    for model in models:
        axes[0].plot([], [], look[model].marker, color=look[model].colour, label=title_of(model))
    figure.legend(loc="outside lower center", frameon=False, ncols=5)
    caption = (
        f"Each point is one of {len(found)} runs. In the titles: Spearman's rank correlation of measure and rate over "
        "runs, with its 95 % interval, in which the runs of a language count as one, since they share its measures."
    )
    return save(figure, Picture(folder, "complexity", title, caption))


Measured = list[tuple[Point, float]]
"""Runs, each with a measure of its language."""


def measured_by(found: Sequence[Point], measure: str) -> Measured:
    """The runs of whose language a measure is defined, and that measure."""
    values = [(point, getattr(_complexity(point.language, point.max_length), measure, None)) for point in found]
    return [(point, float(value)) for point, value in values if value is not None]


def over_languages(measured: Measured) -> Correlation:
    """Of measure and rate over runs; the languages are what the interval counts."""
    return rank_correlation(
        [value for _, value in measured],
        [point.rate for point, _ in measured],
        units=[point.language for point, _ in measured],
    )


@lru_cache(maxsize=256)
def _complexity(name: str, max_length: int) -> Complexity | None:
    language = language_of(name)
    return None if language is None else complexity(language, max_length=max_length)


def _draw(panel: Axes, measured: Measured, look: dict[Model, Look]) -> None:
    for model, style in look.items():
        mine = [(value, point.rate) for point, value in measured if point.model == model]
        panel.plot(*zip(*mine, strict=True) if mine else ([], []), style.marker, color=style.colour, ms=5, alpha=0.7)
    values = [value for _, value in measured]
    if values and min(values) > 0 and max(values) > _WIDE * min(values):
        panel.set_xscale("log")
    panel.set_ylim(-0.03, 1.05)
