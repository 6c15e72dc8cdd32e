"""The figure of the headline rate against each measure of a language's complexity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hf_ruleextrap.formal.measures import MEASURES

from .analysis import FEWEST_LANGUAGES, Analysis, Measured
from .style import Look, Model, Picture, looks, ordered, panels, rho, save, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The axis is logarithmic if the ratio of the largest value to the smallest is larger than this number.
_WIDE = 30


def complexities(analysis: Analysis, folder: Path) -> Picture | str:
    """Draw the OOD headline rate of each run against the complexity of its language, with a panel for each measure.

    A panel leaves out the runs whose language has no value for its measure.
    """
    if not analysis.measures:
        return f"No figure of rate against complexity: the figure needs runs of {FEWEST_LANGUAGES} languages."
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
        f"Each point is one of {len(analysis.points)} runs. The titles give Spearman's rank correlation of the measure "
        "and the rate over runs, with its 95 % interval from permutations of languages and models."
    )
    return save(figure, Picture(folder, "complexity", title, caption))


def _draw(panel: Axes, measured: Measured, look: dict[Model, Look]) -> None:
    for model, style in look.items():
        pairs = [(value, point.rate) for point, value in measured if point.model == model]
        panel.plot(*zip(*pairs, strict=True) if pairs else ([], []), style.marker, color=style.colour, ms=5, alpha=0.7)
    values = [value for _, value in measured]
    if values and min(values) > 0 and max(values) > _WIDE * min(values):
        panel.set_xscale("log")
    panel.set_ylim(-0.03, 1.05)
