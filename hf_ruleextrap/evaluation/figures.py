"""The figures of exact masses, and what all figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import replacing
from hf_ruleextrap.formal import Language
from hf_ruleextrap.inputs import shown

from .mass import Mass

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

_FAINTEST = 1e-6
"""What is drawn white, relative to the most probable word."""

# Okabe and Ito's colours: told apart by colour-blind people, and with a different line each.
CELLS = {
    "both": ("R1 and R2", "#0072B2", "-"),
    "only_r1": ("only R1", "#D55E00", "--"),
    "only_r2": ("only R2", "#009E73", "-."),
    "neither": ("neither", "#999999", ":"),
}


def check_format(out: str | Path) -> None:
    """Raise a RuleExtrapError where a picture of this name cannot be drawn, before any work is done for it."""
    if Path(out).suffix not in FORMATS:
        raise RuleExtrapError(f"cannot draw {str(out)!r}: give a name that ends in {', '.join(FORMATS)}")
    if not Path(out).parent.is_dir():
        raise RuleExtrapError(f"there is no folder {shown(Path(out).parent)} for the picture: make it, or give another")
    if find_spec("matplotlib") is None:
        raise RuleExtrapError("plots need matplotlib: pip install 'hf-ruleextrap[plot]'")


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure, in inches, that needs no screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def save_figure(figure: Figure, out: str | Path) -> None:
    """Write a picture, whole or not at all."""
    with replacing(out) as draft:
        figure.savefig(draft, dpi=150, bbox_inches="tight")


def draw_words(figure: Figure, mass: Mass, language: Language) -> None:
    """Each word as a square, in four blocks by the rules that it keeps (after the paper's Figure 1).

    Within a block the words stand in order, the shortest first; the darker, the more probable, on a logarithmic scale.
    """
    holds = [rule.holds(mass.words) for rule in language.rules[:2]]
    members = {
        "both": holds[0] & holds[1],
        "only_r1": holds[0] & ~holds[1],
        "only_r2": ~holds[0] & holds[1],
        "neither": ~holds[0] & ~holds[1],
    }
    from matplotlib.colors import LogNorm

    probability = np.exp(mass.log_probability)
    top = float(probability.max())
    scale = LogNorm(vmin=top * _FAINTEST, vmax=top, clip=True)
    axes = figure.subplots(1, 4)
    image = None
    for cell, (name, rows) in zip(axes, members.items(), strict=True):
        values, n = probability[rows], int(rows.sum())
        side = max(1, int(np.ceil(np.sqrt(n))))
        squares = np.full(side * side, np.nan)
        # A probability of 0 has no logarithm; it is drawn as the faintest.
        squares[:n] = np.maximum(values, top * _FAINTEST)
        image = cell.imshow(squares.reshape(side, side), cmap="Greys", norm=scale)
        cell.set_title(f"{CELLS[name][0]}: {values.sum():.4f}\n{n} words", fontsize="small", color=CELLS[name][1])
        cell.set_xticks([])
        cell.set_yticks([])
    assert image is not None
    figure.colorbar(image, ax=axes, label="probability of the word", shrink=0.8)


def draw_dynamics(axes: Axes, steps: Sequence[int], cells: Mapping[str, Sequence[float]]) -> None:
    """The mass of each cell along a training (after the paper's figure of the training dynamics)."""
    for name, (label, colour, line) in CELLS.items():
        axes.plot(steps, cells[name], line, color=colour, label=label)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("probability")
    axes.legend(frameon=False, fontsize="small")
