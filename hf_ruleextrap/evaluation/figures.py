"""The figures of exact masses, and the functions that all figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError, counted
from hf_ruleextrap.files import replacing
from hf_ruleextrap.formal import Language
from hf_ruleextrap.formal.words import FloatArray, IntArray
from hf_ruleextrap.inputs import shown

from .mass import Mass

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

_FAINTEST = 1e-6
"""The smallest probability in the figure, relative to the most probable word."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C510A")
"""Okabe and Ito's colours, which colour-blind people can distinguish. The page of a report has each in two themes."""

# Each cell also has its own style of line.
CELLS = {
    "both": ("R1 and R2", COLOURS[0], "-"),
    "only_r1": ("only R1", COLOURS[1], "--"),
    "only_r2": ("only R2", COLOURS[2], "-."),
    "neither": ("neither", "#999999", ":"),
}


def check_format(out: str | Path) -> None:
    """Check that a figure can be written to a file, before any work is done for the figure.

    Raises:
        RuleExtrapError: If the name has the ending of another format, the folder does not exist, or matplotlib is not
            installed.
    """
    if Path(out).suffix not in FORMATS:
        raise RuleExtrapError(f"cannot draw {str(out)!r}: give a name that ends in {', '.join(FORMATS)}")
    if not Path(out).parent.is_dir():
        raise RuleExtrapError(
            f"there is no folder {shown(Path(out).parent)} for the figure: make the folder, or give another"
        )
    if find_spec("matplotlib") is None:
        raise RuleExtrapError("plots need matplotlib: pip install 'hf-ruleextrap[plot]'")


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure with a size in inches, which needs no screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def save_figure(figure: Figure, out: str | Path) -> None:
    """Write a figure to a file, whole or not at all."""
    with replacing(out) as draft:
        figure.savefig(draft, dpi=150, bbox_inches="tight")
        shrink(draft)


def shrink(path: Path) -> None:
    """Write a PNG file again with a palette of 128 colours, which takes a third of the bytes; leave other files."""
    if path.suffix != ".png":
        return
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, "PNG", optimize=True)


def draw_words(figure: Figure, mass: Mass, language: Language) -> None:
    """Draw the probability of each word against its length, in four panels by the rules that the word keeps.

    A line shows the probability of all words of a length together. The title of a panel names the most probable word.
    """
    holds = [rule.holds(mass.words) for rule in language.rules[:2]]
    members = {
        "both": holds[0] & holds[1],
        "only_r1": holds[0] & ~holds[1],
        "only_r2": ~holds[0] & holds[1],
        "neither": ~holds[0] & ~holds[1],
    }
    from matplotlib.ticker import MaxNLocator

    probability, lengths = np.exp(mass.log_probability), mass.words.lengths
    panels: Sequence[Axes] = figure.subplots(1, len(members), sharex=True, sharey=True)
    # A probability of 0 has no logarithm; such a word lies on the lower edge.
    faintest = float(probability.max()) * _FAINTEST
    for axes, (name, rows) in zip(panels, members.items(), strict=True):
        label, colour, _ = CELLS[name]
        values, of_rows = probability[rows], lengths[rows]
        title = f"{label}: {counted(int(rows.sum()), 'word')}\n{values.sum():.4f} of the probability"
        if len(values):
            best = int(np.flatnonzero(rows)[values.argmax()])
            title += f"\nmost probable: {mass.words[best] or 'the empty word'}"
        axes.set_title(title, fontsize="small", color=colour, loc="left")
        axes.plot(_spread(of_rows), np.maximum(values, faintest), ".", ms=4, color=colour, alpha=0.6)
        totals = np.bincount(of_rows, values, minlength=mass.max_length + 1)
        shown = np.flatnonzero(totals)
        axes.plot(shown, np.maximum(totals[shown], faintest), "-", color="0.3", lw=1)
        axes.set_xlabel("symbols in the word")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yscale("log")
    panels[0].set_ylim(bottom=faintest / 2)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("probability")
    panels[0].plot([], [], ".", color="0.5", label="one word (at the lower edge: this probability or less)")
    panels[0].plot([], [], "-", color="0.3", lw=1, label="all words of this length")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")


def _spread(lengths: IntArray) -> FloatArray:
    """Return a horizontal place for each word, so that the words of a length lie beside each other in order."""
    places = lengths.astype(np.float64)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        places[rows] += np.linspace(-0.35, 0.35, len(rows)) if len(rows) > 1 else 0.0
    return places


def draw_dynamics(axes: Axes, steps: Sequence[int], cells: Mapping[str, Sequence[float]]) -> None:
    """Draw the mass of each cell against the step of a training (after the paper's figure of the training dynamics)."""
    for name, (label, colour, line) in CELLS.items():
        axes.plot(steps, cells[name], line, color=colour, label=label)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("probability")
    axes.legend(frameon=False, fontsize="small")
