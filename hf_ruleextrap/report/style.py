"""The common style of a report's figures: a model looks the same in all figures, in light, in dark and in grey."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hf_ruleextrap.evaluation.figures import COLOURS, FORMATS, new_figure, shrink
from hf_ruleextrap.files import replacing
from hf_ruleextrap.formal.rational import LEARNERS

from .rows import PRESETS, Model, architectures, level_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# In grey, marker and line distinguish the models.
_MARKERS = "os^DvPX"
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))

GREY, SHADE = "#8a8a8a", "#ececec"
"""The colour of runs that have not learned, and of an area behind the points."""

ON_DARK, ON_LIGHT = "#fefefe", "#010101"
"""The colours of text on a coloured field, which are the same in all themes of a page, as is the field."""

LEARNER_MARKERS = dict(zip(LEARNERS, ("<", "d", ">"), strict=True))
LEARNER_STYLE: dict[str, Any] = {"color": "black", "mfc": "white", "ms": 6}
"""The marks of the rational learners, by name."""

Marks = list[tuple[str, dict[str, Any]]]
"""The entries of a legend: a label and the style of its line or marker."""

LABEL_WIDTH = 26
"""The largest number of characters in a line of a label."""

_MOST_LINES = 3
# The width of a character of the text, and the height of a line, in inches.
_CHARACTER, LINE_HEIGHT = 0.075, 0.15

_narrow: ContextVar[bool] = ContextVar("narrow", default=False)


@dataclass(frozen=True)
class Look:
    """The colour, marker and line of a model."""

    colour: str
    marker: str
    line: Any


@dataclass(frozen=True)
class Picture:
    """A figure on the disk.

    Attributes:
        folder: The folder of the files.
        name: The name of the SVG, PDF and PNG file, without the ending.
        title: The title of the figure.
        caption: The explanation below the figure.
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
    names = architectures([*PRESETS, *(name for name, _ in models)])
    # Variants of an architecture take the remaining styles in turn.
    order = [(name, "") for name in names]
    order += [model for model in dict.fromkeys(models) if model not in order]
    return {
        # After one round of the styles, the markers and the lines are shifted against the colours.
        model: Look(
            *(
                styles[(i + k * (i // len(styles))) % len(styles)]
                for k, styles in enumerate((COLOURS, _MARKERS, _LINES))
            )
        )
        for i, model in enumerate(order)
    }


def title_of(model: Model, width: int | None = None) -> str:
    """Return the label of a model in short lines, which are shorter in a narrow figure."""
    name, variant = model
    return label(f"{name} ({variant})" if variant else name, width or label_width())


def label_width() -> int:
    """Return the largest number of characters in a line of a label beside a panel."""
    return 18 if _narrow.get() else LABEL_WIDTH


def lines_of(labels: Iterable[str]) -> int:
    """Return the largest number of lines of a label."""
    return max((text.count("\n") + 1 for text in labels), default=1)


def with_level(language: str) -> str:
    """Return the label of a language in short lines."""
    return label(f"{language} ({level_of(language) or 'level unknown'})")


def label(text: str, width: int = LABEL_WIDTH) -> str:
    r"""Return a text in at most three short lines, without its middle where it is longer, and not as a formula.

    A narrow figure, whose lines are shorter, has at most four.

    >>> label("transformer (learning_rate 0.005, optimizer muon)")
    'transformer (learning_rate\n0.005, optimizer muon)'
    """
    lines = textwrap.wrap(text, width, break_on_hyphens=False)
    most = _MOST_LINES + _narrow.get()
    if len(lines) > most:
        # The beginning and the end, where labels differ most.
        lines = [*lines[: most - 2], f"{lines[most - 2][: width - 1]}…", text[-width:].strip()]
    return plain("\n".join(lines))


def plain(text: str) -> str:
    """Return a text with escaped dollar signs, which would otherwise begin a formula."""
    return text.replace("$", r"\$")


@contextmanager
def drawing(*, narrow: bool = False) -> Iterator[None]:
    """Apply the settings of all figures; drawing twice gives the same bytes.

    Args:
        narrow: Whether to draw one panel beside another only where the page of a phone has room.
    """
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
        "grid.color": GREY,
    }
    token = _narrow.set(narrow)
    try:
        with mpl.rc_context(settings):
            yield
    finally:
        _narrow.reset(token)


def is_narrow() -> bool:
    """Return whether the figure is drawn for the page of a phone."""
    return _narrow.get()


def save(figure: Figure, picture: Picture) -> Picture:
    """Write a figure in all formats; a narrow figure as SVG alone."""
    # The layout is computed once for all formats.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for path in [picture.svg] if _narrow.get() else picture.files:
        # A date in the metadata would change the bytes of every file.
        dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
        with replacing(path) as draft:
            figure.savefig(draft, dpi=150, metadata=dates[path.suffix])
            shrink(draft)
    return picture


def panels(
    n: int,
    title: str,
    *,
    x: str = "",
    y: str = "",
    width: float = 3.0,
    height: float = 2.7,
    columns: int | None = None,
    row_labels: Sequence[str] = (),
    same_y: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with n panels, and x and y as labels at its edges.

    Args:
        n: The number of panels.
        title: The title of the figure.
        x: The label of the horizontal axes.
        y: The label of the vertical axes.
        width: The width of a panel in inches.
        height: The height of a panel with its title in inches.
        columns: The largest number of panels beside each other; by default three, or four where there are more than
            nine panels. A narrow figure has one, or two of half the width.
        row_labels: The labels of the y axis, for which the figure is wider. Only the first panel of a row shows them.
        same_y: Whether all panels have the same y axis, whose numbers only the first panel of a row shows.
    """
    columns = columns or (3 if n <= 9 else 4)
    if _narrow.get():
        columns, width = (2, 1.8) if width < 2.2 else (1, 3.6)
    columns = min(columns, n)
    lines = -(-n // columns)
    whole = max(width * columns, 3.6)
    if not _narrow.get():
        whole += _CHARACTER * _longest(row_labels)
    # The title is larger than other text.
    title_lines = textwrap.wrap(title, int(whole / 0.095))
    figure = new_figure(whole, height * lines + 0.2 * len(title_lines) + 0.2, "\n".join(title_lines))
    grid = figure.subplots(lines, columns, squeeze=False, sharey="all" if same_y else "row" if row_labels else "none")
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


def logarithmic(panel: Axes, axis: Literal["x", "y"], low: float, high: float) -> None:
    """Make an axis logarithmic, with a few ticks whose labels have room.

    Args:
        panel: The panel.
        axis: The axis.
        low: The smallest value on the axis, larger than 0.
        high: The largest value on the axis.
    """
    panel.set(**{f"{axis}scale": "log", f"{axis}lim": (low, high)})
    logarithmic_ticks(getattr(panel, f"{axis}axis"), low, high)


def logarithmic_ticks(axis: Axis, low: float, high: float) -> None:
    """Give a logarithmic axis from low to high a few ticks whose labels have room."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    decades = math.log10(high / low)
    digits = [(1, 2, 5) if decades < 1 else (1, 3) if decades < 2 else (1,), range(1, 10)]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    known = [[d * 10.0**power for power in powers for d in each if low <= d * 10.0**power <= high] for each in digits]
    ticks = known[0] if len(known[0]) > 1 else known[1] or [float(f"{math.sqrt(low * high):.2g}")]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def tick_names(names: Sequence[str], room: float) -> tuple[list[str], int, float]:
    """Return names as labels of ticks below an axis, where names without room beside each other stand upright.

    Args:
        names: The names.
        room: The width of the axis in inches.

    Returns:
        The labels, their rotation in degrees, and their height in inches.
    """
    broken = [plain(name.replace("_", "_\n").replace(" ", "\n")) for name in names]
    if _CHARACTER * (_longest(broken) + 1) * len(names) < room:
        return broken, 0, LINE_HEIGHT * lines_of(broken)
    labels = [label(name) for name in names]
    return labels, 90, _CHARACTER * _longest(labels)


def _longest(labels: Iterable[str]) -> int:
    """Return the number of characters in the longest line."""
    return max((len(line) for text in labels for line in text.splitlines()), default=0)


def legend(figure: Figure, marks: Marks) -> None:
    """Draw a legend below the panels, in as many columns as the figure has room for."""
    from matplotlib.lines import Line2D

    names = [name for name, _ in marks]
    columns = max(1, int(figure.get_figwidth() / (_CHARACTER * _longest(names) + 0.7)))
    figure.set_figheight(figure.get_figheight() + LINE_HEIGHT * (lines_of(names) + 0.4) * -(-len(names) // columns))
    handles = [Line2D([], [], **{"ls": "", **style}) for _, style in marks]
    figure.legend(handles, names, loc="outside lower center", frameon=False, ncols=min(columns, len(names) or 1))


def learner_marks(learners: Iterable[str]) -> Marks:
    """Return the entries of a legend for rational learners."""
    return [(f"rational: {LEARNERS[name]}", {**LEARNER_STYLE, "marker": LEARNER_MARKERS[name]}) for name in learners]


def model_marks(models: Sequence[Model], look: Mapping[Model, Look]) -> Marks:
    """Return the entries of a legend for models that are drawn as markers."""
    return [(title_of(model), {"marker": look[model].marker, "color": look[model].colour, "ms": 5}) for model in models]
