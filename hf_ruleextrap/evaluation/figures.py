"""What all pictures share."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


def check_format(out: str | Path) -> None:
    """Raise a RuleExtrapError where a picture of this name cannot be drawn."""
    if Path(out).suffix not in FORMATS:
        raise RuleExtrapError(f"cannot draw {str(out)!r}: give a name that ends in {', '.join(FORMATS)}")
    if find_spec("matplotlib") is None:
        raise RuleExtrapError("plots need matplotlib: pip install 'hf-ruleextrap[plot]'")


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure, in inches, that needs no screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    return figure
