"""``hf-ruleextrap sweep``."""

from __future__ import annotations

import argparse

from hf_ruleextrap.errors import RuleExtrapError

from .common import Commands, print_lines, quiet


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("sweep", help="run all cells of a grid that have no results yet")
    parser.add_argument("grid", help="a grid file (YAML): recipes, and axes to cross them with")
    parser.add_argument("--out", required=True, help="the store: a folder that gets a run folder for each cell")
    parser.add_argument("--workers", type=int, help="processes of one thread (default: this machine's cores)")
    parser.add_argument("--dry-run", action="store_true", help="only list the cells")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run a grid, or list its cells."""
    quiet()
    from hf_ruleextrap.train.grid import read_grid

    cells = read_grid(arguments.grid, arguments.out)
    if arguments.dry_run:
        print_lines(cell.key for cell in cells)
        return
    from hf_ruleextrap.train.sweep import sweep

    outcome = sweep(cells, arguments.out, workers=arguments.workers)
    ran = f"{len(outcome.done)} ran, {len(outcome.skipped)} had been done, {len(outcome.failed)} failed"
    print(f"{len(cells)} cells: {ran}; results in {arguments.out}")
    if outcome.failed:
        raise RuleExtrapError(
            f"no results for {', '.join(outcome.failed)}: see {arguments.out}/failures, and give the same command again"
        )
