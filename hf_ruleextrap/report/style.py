"""What the report's pictures share: a model looks the same in all of them, in colour and without."""

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

# Okabe and Ito's colours, told apart by colour-blind people; hatch, marker and line tell them apart in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++")
_MARKERS = "os^DvPX"
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))
_PRESETS = ("linear", "lstm", "transformer", "mamba", "xlstm")


Model = tuple[str, str]
"""Architecture and variant."""


@dataclass(frozen=True)
class Look:
    """How a model is drawn."""

    colour: str
    hatch: str
    marker: str
    line: Any


@dataclass(frozen=True)
class Picture:
    """A figure that was drawn.

    Attributes:
        folder: where ``name`` is, as SVG, PDF and PNG.
        name: of the files.
        title: what it shows, in a few words.
        caption: what is to be known to read it.
    """

    folder: Path
    name: str
    title: str
    caption: str

    @property
    def svg(self) -> Path:
        """The SVG."""
        return self.folder / f"{self.name}.svg"

    @property
    def files(self) -> list[Path]:
        """All its files."""
        return [self.svg.with_suffix(suffix) for suffix in FORMATS]


def ordered(models: Iterable[Model]) -> list[Model]:
    """Each once, the paper's architectures first."""
    found = set(models)
    order = architectures(name for name, _ in found)
    return sorted(found, key=lambda model: (order.index(model[0]), model[1]))


def looks(models: Sequence[Model]) -> dict[Model, Look]:
    """A look for each model; those of the paper's architectures never change."""
    names = architectures([*_PRESETS, *(name for name, _ in models)])
    # Variants of an architecture take what the presets leave, in turn.
    order = [(name, "") for name in names]
    order += [model for model in dict.fromkeys(models) if model not in order]
    return {
        model: Look(*(styles[i % len(styles)] for styles in (_COLOURS, _HATCHES, _MARKERS, _LINES)))
        for i, model in enumerate(order)
    }


def title_of(model: Model) -> str:
    """A model's label."""
    name, variant = model
    return plain(f"{name} ({variant})" if variant else name)


def with_level(language: str) -> str:
    """A language's label."""
    return plain(f"{language} ({level_of(language) or 'level unknown'})")


def rho(correlation: Correlation) -> str:
    """A correlation in a title."""
    return rf"$\rho$ = {correlation}"


def plain(text: str) -> str:
    """A text without formulas, which dollars would make."""
    return text.replace("$", r"\$")


@contextmanager
def drawing() -> Iterator[None]:
    """The settings of all figures: what is drawn twice has the same bytes, and text is text."""
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
    """Write all formats."""
    # Lay it out once for all formats.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for path in picture.files:
        # A date would make each file another one.
        dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
        with replacing(path) as draft:
            figure.savefig(draft, dpi=150, bbox_inches="tight", metadata=dates[path.suffix])
    return picture


def panels(
    n: int, title: str, *, x: str = "", y: str = "", width: float = 3.3, height: float = 2.5, columns: int = 3
) -> tuple[Figure, list[Axes]]:
    """A figure with n panels; x and y stand at its edges."""
    columns = min(columns, n)
    lines = -(-n // columns)
    figure = new_figure(max(width * columns, 4.2), height * lines + 0.6, title)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[n:]:
        axes.set_visible(False)
    found: list[Axes] = list(np.ravel(grid))[:n]
    for i, axes in enumerate(found):
        if i % columns == 0:
            axes.set_ylabel(y)
        # What has no panel below it.
        if i + columns >= n:
            axes.set_xlabel(x)
    return figure, found
