"""``hf-ruleextrap sweep``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError

from .common import Commands, print_lines, quiet

if TYPE_CHECKING:
    from hf_ruleextrap.sweep.workers import Backend


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("sweep", help="run all cells of a grid that have no results yet")
    parser.add_argument("grid", help="a grid file (YAML): recipes, and axes to cross them with")
    parser.add_argument("--out", required=True, help="the store: a folder that gets a run folder for each cell")
    parser.add_argument("--workers", type=int, help="processes of one thread (default: this machine's cores)")
    parser.add_argument("--address", help="run on a Ray cluster instead: HOST:PORT, auto, or local")
    parser.add_argument("--cpus-per-run", type=float, help="with --address: CPUs for each run (default 1)")
    parser.add_argument("--gpus-per-run", type=float, help="with --address: GPUs for each run, e.g. 0.1 (default 0)")
    parser.add_argument(
        "--language",
        metavar="FILE.py:CLASS",
        action="append",
        default=[],
        help="allow the grid to name the language in this file, whose code then runs (repeat)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list the cells")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run a grid, or list its cells."""
    quiet()
    from hf_ruleextrap.languages import get_language
    from hf_ruleextrap.sweep.grid import read_grid

    workers = backend(arguments)
    for name in arguments.language:
        get_language(name)
    cells = read_grid(arguments.grid, arguments.out)
    if arguments.dry_run:
        print_lines(cell.key for cell in cells)
        return
    from hf_ruleextrap.sweep.sweep import run_sweep

    outcome = run_sweep(cells, arguments.out, workers)
    ran = f"{len(outcome.done)} ran, {len(outcome.skipped)} had been done, {len(outcome.failed)} failed"
    print(f"{len(cells)} cells: {ran}; results in {arguments.out}")
    if outcome.failed:
        raise RuleExtrapError(
            f"no results for {', '.join(outcome.failed)}: see {arguments.out}/failures, and give the same command again"
        )


def backend(arguments: argparse.Namespace) -> Backend:
    """The workers that the flags ask for.

    Raises:
        RuleExtrapError: flags that contradict each other, or numbers out of range.
    """
    from hf_ruleextrap.sweep.workers import Local, OnRay

    if arguments.address is None:
        for flag in ("cpus_per_run", "gpus_per_run"):
            if getattr(arguments, flag) is not None:
                raise RuleExtrapError(f"--{flag.replace('_', '-')} is for a Ray cluster: give --address, too")
        return Local(arguments.workers)
    if arguments.workers is not None:
        raise RuleExtrapError("--workers is for this machine, --address for a Ray cluster: give one of them")
    cpus, gpus = arguments.cpus_per_run, arguments.gpus_per_run
    return OnRay(arguments.address, cpus=1 if cpus is None else cpus, gpus=0 if gpus is None else gpus)
