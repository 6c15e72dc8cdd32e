"""``hf-ruleextrap sweep``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError, counted
from hf_ruleextrap.inputs import packaged_files

from .common import Commands, add_wait, print_lines, quiet

if TYPE_CHECKING:
    from hf_ruleextrap.sweep.workers import Backend


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("sweep", help="run all cells of a grid that have no results")
    parser.add_argument(
        "grid",
        help="a grid file (YAML) with recipes, and axes of values for their keys; or a grid of the package: "
        + ", ".join(packaged_files("grid")),
    )
    parser.add_argument("--out", required=True, help="the store: the folder for the run folders of all cells")
    parser.add_argument(
        "--workers", type=int, help="number of processes with one thread each (default: number of cores)"
    )
    parser.add_argument("--address", help="run on a Ray cluster: HOST:PORT, auto or local")
    parser.add_argument("--cpus-per-run", type=float, help="number of CPUs for each run, with --address (default 1)")
    parser.add_argument(
        "--gpus-per-run", type=float, help="number of GPUs for each run, such as 0.1, with --address (default 0)"
    )
    parser.add_argument(
        "--language",
        metavar="FILE.py:CLASS",
        action="append",
        default=[],
        help="allow this file to run, so that the grid can name its language (may be repeated)",
    )
    add_wait(parser)
    parser.add_argument("--dry-run", action="store_true", help="list the cells, and run nothing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run a grid, or list its cells."""
    quiet()
    from hf_ruleextrap.sweep.workers import Local, prepare_workers

    workers = backend(arguments)
    if isinstance(workers, Local) and not arguments.dry_run:
        prepare_workers()
    from hf_ruleextrap.languages import get_language
    from hf_ruleextrap.sweep.grid import read_grid

    for name in arguments.language:
        get_language(name)
    cells = read_grid(arguments.grid, arguments.out)
    if arguments.dry_run:
        print_lines(cell.key for cell in cells)
        return
    from hf_ruleextrap.sweep.sweep import run_sweep

    outcome = run_sweep(cells, arguments.out, workers, wait_for_runs=arguments.wait)
    counts = f"{len(outcome.done)} ran, {len(outcome.skipped)} had been done, {len(outcome.failed)} failed"
    print(f"{counted(len(cells), 'cell')}: {counts}; results in {arguments.out}")
    if outcome.failed:
        raise RuleExtrapError(
            f"no results for {', '.join(outcome.failed)}: see {arguments.out}/failures, and run the same command again"
        )


def backend(arguments: argparse.Namespace) -> Backend:
    """Return the workers that the flags describe.

    Raises:
        RuleExtrapError: flags contradict each other, or a number is out of range.
    """
    from hf_ruleextrap.sweep.workers import Local, OnRay

    if arguments.address is None:
        for flag in ("cpus_per_run", "gpus_per_run"):
            if getattr(arguments, flag) is not None:
                raise RuleExtrapError(f"--{flag.replace('_', '-')} is for a Ray cluster: pass --address, too")
        return Local(arguments.workers)
    if arguments.workers is not None:
        raise RuleExtrapError("--workers is for this machine, --address for a Ray cluster: pass one of the two")
    cpus, gpus = arguments.cpus_per_run, arguments.gpus_per_run
    return OnRay(arguments.address, cpus=1 if cpus is None else cpus, gpus=0 if gpus is None else gpus)
