"""The common style of a report's figures: a model looks the same in all figures, in colour and in grey."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ruleextrap.evaluation.figures import FORMATS, new_figure
from hf_ruleextrap.files import replacing

from .correlation import Correlation
from .rows import architectures, level_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours suit colour-blind readers; hatch, marker and line distinguish the models in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++")
_MARKERS = "os^DvPX"
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))
_PRESETS = ("linear", "lstm", "transformer", "mamba", "xlstm")


Model = tuple[str, str]
"""An architecture and a variant."""


@dataclass(frozen=True)
class Look:
    """The colour, hatch, marker and line of a model."""

    colour: str
    hatch: str
    marker: str
    line: Any


@dataclass(frozen=True)
class Picture:
    """A figure on the disk.

    Attributes:
        folder: the folder of the files.
        name: the name of the SVG, PDF and PNG file, without the ending.
        title: the title of the figure.
        caption: the explanation below the figure.
    """

    folder: Path
    name: str
    title: str
    caption: str

    @property
    def svg(self) -> Path:
        """The path of the SVG file."""
        return self.folder / f"{self.name}.svg"

    @property
    def files(self) -> list[Path]:
        """The paths of all files."""
        return [self.svg.with_suffix(suffix) for suffix in FORMATS]


def ordered(models: Iterable[Model]) -> list[Model]:
    """Return each model once, the paper's architectures first."""
    unique = set(models)
    order = architectures(name for name, _ in unique)
    return sorted(unique, key=lambda model: (order.index(model[0]), model[1]))


def looks(models: Sequence[Model]) -> dict[Model, Look]:
    """Return a look for each model; the paper's architectures look the same in every report."""
    names = architectures([*_PRESETS, *(name for name, _ in models)])
    # Variants of an architecture take the remaining styles in turn.
    order = [(name, "") for name in names]
    order += [model for model in dict.fromkeys(models) if model not in order]
    return {
        model: Look(*(styles[i % len(styles)] for styles in (_COLOURS, _HATCHES, _MARKERS, _LINES)))
        for i, model in enumerate(order)
    }


def title_of(model: Model) -> str:
    """Return the label of a model."""
    name, variant = model
    return plain(f"{name} ({variant})" if variant else name)


def with_level(language: str) -> str:
    """Return the label of a language."""
    return plain(f"{language} ({level_of(language) or 'level unknown'})")


def rho(correlation: Correlation) -> str:
    """Return a correlation as part of a title."""
    return rf"$\rho$ = {correlation}"


def plain(text: str) -> str:
    """Return a text with escaped dollar signs, which would otherwise begin a formula."""
    return text.replace("$", r"\$")


@contextmanager
def drawing() -> Iterator[None]:
    """Apply the settings of all figures: drawing twice gives the same bytes, and text stays text."""
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "svg.hashsalt": "hf-ruleextrap",
        "pdf.fonttype": 42,
        "hatch.linewidth": 0.6,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
    }
    with mpl.rc_context(settings):
        yield


def save(figure: Figure, picture: Picture) -> Picture:
    """Write a figure in all formats."""
    # The layout is computed once for all formats.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for path in picture.files:
        # A date in the metadata would change the bytes of every file.
        dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
        with replacing(path) as draft:
            figure.savefig(draft, dpi=150, bbox_inches="tight", metadata=dates[path.suffix])
    return picture


def panels(
    n: int, title: str, *, x: str = "", y: str = "", width: float = 3.3, height: float = 2.5, columns: int = 3
) -> tuple[Figure, list[Axes]]:
    """Return a figure with n panels, and x and y as labels at its edges."""
    columns = min(columns, n)
    lines = -(-n // columns)
    figure = new_figure(max(width * columns, 4.2), height * lines + 0.6, title)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[n:]:
        axes.set_visible(False)
    visible: list[Axes] = list(np.ravel(grid))[:n]
    for i, axes in enumerate(visible):
        if i % columns == 0:
            axes.set_ylabel(y)
        # Panels without a panel below them show the label of the x axis.
        if i + columns >= n:
            axes.set_xlabel(x)
    return figure, visible
