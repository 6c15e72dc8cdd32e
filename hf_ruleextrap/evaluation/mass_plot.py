"""Two pictures of exact masses: every short word of one model, and the four cells along a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.formal import Language

from .mass import Mass

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FAINTEST = 1e-6
"""What is drawn white, relative to the most probable word."""

# Okabe and Ito's colours: told apart by colour-blind people, and with a different line each.
CELLS = {
    "both": ("R1 and R2", "#0072B2", "-"),
    "only_r1": ("only R1", "#D55E00", "--"),
    "only_r2": ("only R2", "#009E73", "-."),
    "neither": ("neither", "#999999", ":"),
}


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
