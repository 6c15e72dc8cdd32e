"""The figure of the headline rate against each measure of a language's complexity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hf_ruleextrap.formal.measures import MEASURES

from .analysis import FEWEST_LANGUAGES, Analysis, Measured
from .style import Look, Model, Picture, looks, ordered, panels, rho, save, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Above this ratio of the largest to the smallest, the axis is logarithmic.
_WIDE = 30


def complexities(analysis: Analysis, folder: Path) -> Picture | str:
    """Draw a panel for each measure: the OOD headline rate of each run against its language's complexity.

    A run whose measure is undefined is not in that panel.
    """
    if not analysis.measures:
        return f"No figure of rate against complexity: it takes runs of {FEWEST_LANGUAGES} languages."
    models = ordered(point.model for point in analysis.points)
    look = looks(models)
    title = "Complexity of the language against rule extrapolation"
    figure, axes = panels(len(MEASURES), title, y="OOD, every open rule holds", columns=2)
    for panel, (measure, heading) in zip(axes, MEASURES.items(), strict=True):
        _draw(panel, analysis.measures[measure], look)
        panel.set_xlabel(heading)
        panel.set_title(rho(analysis.correlation("complexity", measure)))
    for model in models:
        axes[0].plot([], [], look[model].marker, color=look[model].colour, label=title_of(model))
    figure.legend(loc="outside lower center", frameon=False, ncols=5)
    caption = (
        f"Each point is one of {len(analysis.points)} runs. In the titles: Spearman's rank correlation of measure and "
        "rate over runs, with its 95 % interval from permutations of languages and models."
    )
    return save(figure, Picture(folder, "complexity", title, caption))


def _draw(panel: Axes, measured: Measured, look: dict[Model, Look]) -> None:
    for model, style in look.items():
        mine = [(value, point.rate) for point, value in measured if point.model == model]
        panel.plot(*zip(*mine, strict=True) if mine else ([], []), style.marker, color=style.colour, ms=5, alpha=0.7)
    values = [value for _, value in measured]
    if values and min(values) > 0 and max(values) > _WIDE * min(values):
        panel.set_xscale("log")
    panel.set_ylim(-0.03, 1.05)
