"""The figures of a report: rates, and loss against rate. `curves` draws those over steps and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.evaluation.references import CEILING, UNIFORM, heading

from .analysis import POOLED, WITHIN, Analysis, Point, reference
from .complexity import complexities
from .curves import dynamics, lengths
from .read import Study
from .rows import Row, architectures, in_chomsky_order
from .style import Look, Model, Picture, drawing, looks, ordered, panels, rho, save, title_of, with_level

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A loss at the floor, or below the floor because of the choice of test words, has no logarithm.
_LEAST_LOSS = 1e-4


def draw_all(study: Study, analysis: Analysis, folder: Path) -> tuple[list[Picture], list[str]]:
    """Draw all figures for which the study has data, each as SVG, PDF and PNG.

    Returns:
        The figures, and a line for each figure without data.
    """
    with drawing():
        drawn = [
            rates(analysis.rows, folder),
            authors(analysis.rows, folder),
            loss(analysis, folder),
            complexities(analysis, folder),
            dynamics(study.runs, folder),
            *(lengths(study.runs, kind, folder) for kind in ("ood", "id")),
        ]
    return [p for p in drawn if isinstance(p, Picture)], [line for line in drawn if isinstance(line, str)]


def rates(rows: Sequence[Row], folder: Path) -> Picture | str:
    """Draw each model's headline rate over all prompts, with a panel for each language."""
    shown = [row for row in rows if row.way == "corrected" and row.name and "ood_headline" in row.values]
    if not shown:
        return "No figure of rates over all prompts: no run of a corrected recipe is in this study."
    languages = in_chomsky_order(row.language for row in shown)
    models = ordered((row.name, row.variant) for row in shown)
    look = looks(models)
    title = "OOD prompts on which every open rule holds"
    figure, axes = panels(len(languages), title, width=max(2.4, 0.5 * len(models) + 0.6))
    for panel, language in zip(axes, languages, strict=True):
        for place, model in enumerate(models):
            for row in (row for row in shown if (row.language, row.name, row.variant) == (language, *model)):
                _bar(panel, place, row, look[model])
        for source, line, label in ((UNIFORM, ":", heading(UNIFORM)), (CEILING, "--", heading(CEILING))):
            known = reference(rows, language, source, "ood_headline")
            if known is not None:
                panel.axhline(known, color="black", ls=line, lw=1, label=label if panel is axes[0] else None)
        panel.set_title(with_level(language))
        panel.set_xticks(range(len(models)), [title_of(model) for model in models], rotation=35, ha="right")
        panel.set_xlim(-0.6, len(models) - 0.4)
        panel.set_ylim(-0.02, 1.05)
    if axes[0].get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", frameon=False, ncols=2)
    caption = (
        "Share of all OOD prompts on which every open rule holds. A bar is the mean over runs, with its 95 % interval "
        "(Student's t over runs; a single run has no interval, and runs that agree give an interval without width). "
        "Each dot is a run, with its 95 % Wilson interval over prompts. The dotted line is chance, and the dashed line "
        "is the ceiling. A cross marks a model without a rate."
    )
    return save(figure, Picture(folder, "rates", title, caption))


def _bar(panel: Axes, place: int, row: Row, look: Look) -> None:
    spread, run_rates = row.values["ood_headline"], row.rates.get("ood_headline", ())
    if spread.mean is None:
        panel.plot(place, 0.03, "x", color="black", ms=5)
        return
    panel.bar(
        place, spread.mean, width=0.74, facecolor=f"{look.colour}55", edgecolor=look.colour, hatch=look.hatch, lw=0.8
    )
    if spread.low is not None and spread.high is not None:
        size = [[spread.mean - spread.low], [spread.high - spread.mean]]
        panel.errorbar(
            place + 0.26, spread.mean, size, fmt="none", ecolor="black", lw=1.6, capsize=5, capthick=1.6, zorder=4
        )
    offsets = np.linspace(-0.28, 0.1, len(run_rates)) if len(run_rates) != 1 else [-0.1]
    for offset, rate in zip(offsets, run_rates, strict=True):
        assert rate.rate is not None
        assert rate.low is not None
        assert rate.high is not None
        size = [[rate.rate - rate.low], [rate.high - rate.rate]]
        style = {"ms": 3.6, "lw": 0.8, "mfc": "white", "mew": 0.9}
        panel.errorbar(place + offset, rate.rate, size, fmt="o", color="black", zorder=3, **style)  # type: ignore[arg-type]  # all its own


def authors(rows: Sequence[Row], folder: Path) -> Picture | str:
    """Draw OOD R1 among finished completions: the authors' rates beside those of the reproduced recipes."""
    sources = {"authors": ("authors", "D", "white"), "best_check": ("ours, best check", "o", "black")}
    shown = [row for row in rows if row.way == "reproduced" and row.source in sources and "ood_r1" in row.values]
    languages = in_chomsky_order(row.language for row in shown if row.source == "best_check")
    if not languages:
        return "No figure of the reproduction: no run of an authors' recipe is in this study."
    names = architectures(row.name for row in shown)
    title = "OOD R1 in the authors' way: among finished completions, best check"
    figure, axes = panels(len(languages), title, width=max(2.4, 0.55 * len(names) + 0.6))
    for panel, language in zip(axes, languages, strict=True):
        for row in (row for row in shown if row.language == language):
            label, marker, fill = sources[row.source]
            side = -1 if row.source == "authors" else 1
            spread, place = row.values["ood_r1"], names.index(row.name) + 0.15 * side
            if spread.mean is None:
                panel.plot(place, 0.03, "x", color="black", ms=5)
                continue
            panel.errorbar(
                place, spread.mean, spread.std or 0.0, fmt=marker, color="black", mfc=fill, ms=5.5, lw=1, capsize=3
            )
            beside = {"xytext": (5 * side, 3), "textcoords": "offset points", "ha": "right" if side < 0 else "left"}
            panel.annotate(str(spread.n), (place, spread.mean), fontsize=7, **beside)  # type: ignore[arg-type]  # all its own
        panel.set_title(with_level(language))
        panel.set_xticks(range(len(names)), names, rotation=35, ha="right")
        panel.set_xlim(-0.6, len(names) - 0.4)
        panel.set_ylim(-0.15, 1.15)
    for label, marker, fill in sources.values():
        axes[0].plot([], [], marker, color="black", mfc=fill, ms=5.5, label=label)
    figure.legend(loc="outside lower center", frameon=False, ncols=2)
    caption = (
        "Mean and standard deviation over runs, with the number of runs beside each mean. White diamonds are the "
        "authors' published runs, and black dots are our runs of their recipes. Only completions that finished count, "
        "and each run counts with its best check."
    )
    return save(figure, Picture(folder, "authors", title, caption))


def loss(analysis: Analysis, folder: Path) -> Picture | str:
    """Draw the test loss above the entropy against the headline rate, pooled and for each language."""
    points = analysis.points
    if not points:
        return "No figure of loss against rate: no run of a corrected recipe has both."
    models = ordered(point.model for point in points)
    look = looks(models)
    groups = {
        name: [point for point in points if point.language == name]
        for name in in_chomsky_order(p.language for p in points)
    }
    pooled = [point for point in points if point.floor]
    several = len(groups) > 1 and pooled
    title = "Test loss against rule extrapolation"
    x, y = "loss above the entropy [nats per token]", "OOD, every open rule holds"
    count = len(groups) + bool(several)
    figure, axes = panels(count, title, x=x, y=y, width=3.1, height=2.6, columns=3 if count < 7 else 4)
    named = list(groups.items())
    if several:
        _scatter(axes[0], pooled, look, models)
        axes[0].set_title(f"all languages\n{rho(analysis.correlation('loss', POOLED))}")
        axes = axes[1:]
    for panel, (language, group) in zip(axes, named, strict=True):
        _scatter(panel, group, look, models)
        panel.set_title(f"{with_level(language)}\n{rho(analysis.correlation('loss', f'within {language}'))}")
    for model in models:
        style = look[model]
        figure.axes[0].plot([], [], style.marker, color=style.colour, label=title_of(model))
    figure.legend(loc="outside lower center", frameon=False, ncols=5)
    without = [name for name, group in groups.items() if not group[0].floor]
    caption = (
        f"Each point is one of {len(points)} runs. The titles give Spearman's rank correlation with its 95 % interval "
        "from permutations of languages and models, and the number of runs. The correlation within all languages "
        f"together is {analysis.correlation('loss', WITHIN)}. Pooled over languages, a difference between languages "
        "looks like a difference between models. "
        f"Losses less than {_LEAST_LOSS:g} above the entropy are drawn at {_LEAST_LOSS:g}."
    )
    if without:
        caption += (
            f" The entropy of {', '.join(without)} is unknown; these panels show the plain loss, which is not pooled."
        )
    return save(figure, Picture(folder, "loss", title, caption))


def _scatter(panel: Axes, points: Sequence[Point], look: dict[Model, Look], models: Sequence[Model]) -> None:
    for model in models:
        style, model_points = look[model], [point for point in points if point.model == model]
        x = [max(point.loss, _LEAST_LOSS) for point in model_points]
        y = [point.rate for point in model_points]
        panel.plot(x, y, style.marker, color=style.colour, mec="black", mew=0.5, ms=6, alpha=0.85)
    losses = [max(point.loss, _LEAST_LOSS) for point in points]
    if max(losses) > 10 * min(losses):
        panel.set_xscale("log")
        # Without this line the labels of minor ticks overlap on an axis of little more than a decade.
        panel.tick_params(axis="x", which="minor", labelbottom=False)
    else:
        panel.locator_params(axis="x", nbins=4)
    panel.set_ylim(-0.05, 1.05)
