"""The report's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hf_ruleextrap.evaluation.figures import new_figure
from hf_ruleextrap.train.results import Results

from .rows import architectures_of, languages_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours; markers tell the languages apart without them.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = "osD^vPX*"
_RESAMPLES = 2000


def draw_all(results: Sequence[Results], folder: Path) -> list[tuple[Path, str]]:
    """Draw all figures as SVG and PNG; returns each SVG with its caption."""
    # It needs what stands here.
    from .complexity import draw_complexity

    drawn = []
    figures = {"rates": _rates(results), "loss": _loss(results), "complexity": draw_complexity(results)}
    for name, (figure, caption) in figures.items():
        path = folder / f"{name}.svg"
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=150, bbox_inches="tight")
        drawn.append((path, caption))
    return drawn


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Spearman's rank correlation and its 95 % interval, by a bootstrap over the pairs (2,000 resamples, fixed seed).

    Returns:
        The correlation and both ends; NaN where either is constant.

    >>> rank_correlation([1, 2, 3, 4], [1, 4, 9, 16])[0]
    1.0
    """
    pairs = np.array([x, y], dtype=np.float64)
    rng = np.random.default_rng(0)
    rows = rng.integers(pairs.shape[1], size=(_RESAMPLES, pairs.shape[1]))
    drawn = [_spearman(pairs[:, row]) for row in rows]
    low, high = np.nanpercentile(drawn, [2.5, 97.5]) if not np.isnan(drawn).all() else (np.nan, np.nan)
    return _spearman(pairs), float(low), float(high)


def _spearman(pairs: npt.NDArray[np.float64]) -> float:
    import pandas as pd

    ranks = np.array([pd.Series(values).rank().to_numpy() for values in pairs])
    if (ranks.std(axis=1) == 0).any():
        return float("nan")
    return round(float(np.corrcoef(ranks)[0, 1]), 12)


def _headline(run: Results) -> float:
    rate = run.best.kinds["ood"].report.headline.rate
    return float("nan") if rate is None else rate


def _rates(results: Sequence[Results]) -> tuple[Figure, str]:
    """A panel a language: the headline rate of each architecture, runs as dots."""
    languages, architectures = languages_of(results), architectures_of(results)
    columns = min(3, len(languages))
    lines = -(-len(languages) // columns)
    figure = new_figure(3.6 * columns, 2.9 * lines, "OOD prompts on which every open rule holds")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, name in zip(panels.flat, languages, strict=False):
        of_language = [run for run in results if run.recipe.language == name]
        for place, architecture in enumerate(architectures):
            runs = [run for run in of_language if run.recipe.architecture == architecture]
            if runs:
                _bar(axes, place, runs)
        chance = of_language[0].best.kinds["ood"].chance.headline.rate
        if chance is not None:
            axes.axhline(chance, color="0.35", ls=":", lw=1.2)
        axes.set_title(name, loc="left", fontsize="medium")
        axes.set_xticks(range(len(architectures)), architectures, rotation=30, ha="right", fontsize="small")
        axes.set_xlim(-0.6, len(architectures) - 0.4)
        axes.set_ylim(0, 1.05)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels.flat[len(languages) :]:
        axes.set_visible(False)
    caption = (
        "Share of OOD prompts on which every open rule holds, over all prompts. Bars: mean over runs; dots: runs, each "
        "with its 95 % Wilson interval over prompts; dotted: chance."
    )
    return figure, caption


def _bar(axes: Axes, place: int, runs: Sequence[Results]) -> None:
    values = [_headline(run) for run in runs]
    axes.bar(place, float(np.nanmean(values)), width=0.7, color="#0072B2", alpha=0.35)
    offsets = np.linspace(-0.2, 0.2, len(runs)) if len(runs) > 1 else [0.0]
    for offset, run in zip(offsets, runs, strict=True):
        rate = run.best.kinds["ood"].report.headline
        if rate.rate is not None and rate.low is not None and rate.high is not None:
            size = [[rate.rate - rate.low], [rate.high - rate.rate]]
            axes.errorbar(place + offset, rate.rate, size, fmt="o", ms=3.5, lw=1, capsize=2, color="#00466e")


def _loss(results: Sequence[Results]) -> tuple[Figure, str]:
    """All runs: test loss above the data's entropy against the headline rate."""
    figure = new_figure(6.4, 4.4, "Equal loss, different behaviour")
    axes = figure.subplots()
    known = [run for run in results if run.test.floor is not None and not np.isnan(_headline(run))]
    for i, name in enumerate(languages_of(known)):
        of_language = [run for run in known if run.recipe.language == name]
        axes.plot(
            [_excess(run) for run in of_language],
            [_headline(run) for run in of_language],
            MARKERS[i % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            ms=6,
            alpha=0.8,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_xlabel("test loss above the data's own entropy [nats per token]")
    axes.set_ylabel("OOD prompts, every open rule holds")
    axes.set_ylim(-0.03, 1.05)
    axes.spines[["top", "right"]].set_visible(False)
    if known:
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    caption = f"Each point is one of {len(known)} runs."
    if len(known) > 2:
        found, low, high = rank_correlation([_excess(run) for run in known], [_headline(run) for run in known])
        caption += f" Spearman's rank correlation {found:.2f} [{low:.2f}, {high:.2f}] (95 %, bootstrap over runs)."
    return figure, caption


def _excess(run: Results) -> float:
    """Test loss above the floor; at least a millionth, so that a logarithm has it."""
    assert run.test.floor is not None
    return max(run.test.loss - run.test.floor, 1e-6)
