"""What all pictures share."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import replacing
from hf_ruleextrap.inputs import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


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
