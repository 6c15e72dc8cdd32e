"""``hf-ruleextrap plot``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("plot", help="draw the loss and the rates of a run")
    parser.add_argument("run_folder", metavar="run", help="the run folder")
    parser.add_argument(
        "--out", help="the file of the figure: .png, .svg or .pdf (default: plot.png in the run folder)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Draw a run."""
    from hf_ruleextrap.train.plot import plot_run

    folder = Path(arguments.run_folder)
    out = Path(arguments.out) if arguments.out is not None else folder / "plot.png"
    plot_run(folder, out)
    print(out)
