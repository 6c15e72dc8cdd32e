"""``hf-ruleextrap estimate``."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from .common import Commands, add_json, import_models, print_json


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "estimate", help="measure a few steps of each shape in a grid, and print its core-hours"
    )
    parser.add_argument("grid", help="a grid file (YAML), or the name of a grid of the package")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the number of runs and the core-hours of a grid, and of each shape in it."""
    import_models()
    from hf_ruleextrap.sweep.estimates import estimate
    from hf_ruleextrap.sweep.grid import read_grid

    costs = estimate(read_grid(arguments.grid, "runs"))
    runs, hours = sum(cost.runs for cost in costs), sum(cost.seconds for cost in costs) / 3600
    if arguments.json:
        print_json({"runs": runs, "core_hours": hours, "shapes": [asdict(cost) for cost in costs]})
        return
    headings = f"{'language':10} {'architecture':12} {'size':6} {'words':>5} {'optimizer':9}"
    print(f"{headings} {'runs':>5} {'ms/step':>8} {'core-h':>7}")
    for cost in sorted(costs, key=lambda cost: -cost.seconds):
        print(
            f"{cost.language:10} {cost.architecture:12} {cost.size:6} {cost.max_length:5} {cost.optimizer:9} "
            f"{cost.runs:5} {1000 * cost.step_seconds:8.1f} {cost.seconds / 3600:7.2f}"
        )
    print(
        f"{runs} runs, at most {hours:.1f} core-hours on this machine; a run that stops when it has learned takes less"
    )
