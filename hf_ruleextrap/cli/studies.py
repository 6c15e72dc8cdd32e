"""The commands on many runs: ``estimate``, ``sweep``, ``report``, ``demo``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError, check_integer, counted
from hf_ruleextrap.inputs import packaged_files

from .common import (
    Commands,
    add_json,
    add_own_languages,
    add_wait,
    import_models,
    load_own_languages,
    print_json,
    print_lines,
    print_not_run,
    quiet,
)

if TYPE_CHECKING:
    from hf_ruleextrap.sweep.workers import Backend


def add(commands: Commands) -> None:
    """Add the commands on many runs."""
    _add_estimate(commands)
    _add_sweep(commands)
    _add_report(commands)
    _add_demo(commands)


def _add_estimate(commands: Commands) -> None:
    parser = commands.add_parser(
        "estimate", help="measure a few steps of each shape in a grid, and print its core-hours"
    )
    parser.add_argument("grid", help="a grid file (YAML), or the name of a grid of the package")
    add_own_languages(parser, "so that the grid can name its language")
    add_json(parser)
    parser.set_defaults(run=_estimate)


def _estimate(arguments: argparse.Namespace) -> None:
    """Print the number of runs and the core-hours of a grid, and of each shape in it."""
    import_models()
    from hf_ruleextrap.sweep.estimates import estimate
    from hf_ruleextrap.sweep.grid import read_grid

    load_own_languages(arguments)
    costs = estimate(read_grid(arguments.grid, "runs"))
    runs, hours = sum(cost.runs for cost in costs), sum(cost.seconds for cost in costs) / 3600
    if arguments.json:
        print_json({"runs": runs, "core_hours": hours, "shapes": [asdict(cost) for cost in costs]})
        return
    from hf_ruleextrap.evaluation.table import print_line, print_table

    headings = ["language", "architecture", "size", "words up to", "optimizer", "runs", "ms/step", "core-hours"]
    rows = [
        [
            *(cost.language, cost.architecture, cost.size, str(cost.max_length), cost.optimizer, str(cost.runs)),
            *(f"{1000 * cost.step_seconds:.1f}", f"{cost.seconds / 3600:.2f}"),
        ]
        for cost in sorted(costs, key=lambda cost: -cost.seconds)
    ]
    print_table(
        f"the cost of {arguments.grid}", (headings, rows), texts=("language", "architecture", "size", "optimizer")
    )
    print_line(
        f"{counted(runs, 'run')}, at most {hours:.1f} core-hours on this machine; a run that stops when it has learned "
        "takes less"
    )


def _add_sweep(commands: Commands) -> None:
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
    add_own_languages(parser, "so that the grid can name its language")
    add_wait(parser)
    parser.add_argument("--dry-run", action="store_true", help="list the cells, and run nothing")
    parser.set_defaults(run=_sweep)


def _sweep(arguments: argparse.Namespace) -> None:
    """Run a grid, or list its cells."""
    quiet()
    from hf_ruleextrap.sweep.workers import Local, prepare_workers

    workers = backend(arguments)
    if isinstance(workers, Local) and not arguments.dry_run:
        prepare_workers()
    from hf_ruleextrap.sweep.grid import read_grid

    load_own_languages(arguments)
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
        RuleExtrapError: If flags contradict each other, or a number is out of range.
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


def _add_report(commands: Commands) -> None:
    parser = commands.add_parser("report", help="write the tables and figures of all runs in a store")
    parser.add_argument(
        "stores",
        nargs="+",
        metavar="STORE",
        help="a folder of a sweep, of run folders or of evaluations, or the runs.parquet of a report",
    )
    parser.add_argument(
        "--out",
        required=True,
        help="the folder for report.md, report.csv, report.tex, index.html, figures/, runs.csv and runs.parquet",
    )
    add_own_languages(parser, "so that the report can state the rules of its language")
    parser.add_argument(
        "--resemblance",
        action="store_true",
        help="compare the checkpoint of each learned run with the rational learners (several seconds for each run)",
    )
    add_wait(parser)
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    """Write the report."""
    quiet()
    from hf_ruleextrap.report import read_study, write_report

    load_own_languages(arguments)
    study = read_study(arguments.stores, resemblance=arguments.resemblance)
    files = write_report(study, arguments.out, wait=arguments.wait)
    names = {run.recipe.language for run in study.runs} | {row.language for row in study.rows}
    print_not_run(names)
    for note in study.notes:
        print(f"note: {note}", file=sys.stderr)
    if study.missing:
        print(f"{counted(len(study.missing), 'run has')} no results; the report lists them")
    models = {row.name for row in study.rows if row.name}
    subjects = counted(len(study.runs), "run") + (f" and {counted(len(models), 'model')} of text" if models else "")
    print(f"{subjects} in {counted(len(files), 'file')}: open {arguments.out}/index.html")


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser("demo", help="show rules, models and results in the browser")
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="run folders, folders of runs, or the folder of `publish demo` (default: the finished runs in runs)",
    )
    add_own_languages(parser, "and show its language")
    parser.add_argument("--port", type=int, help="the port of the server (default: the first free one from 7860)")
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> None:
    """Start the server on this machine."""
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise RuleExtrapError('the demo needs Gradio: pip install "hf-ruleextrap[demo]"')
    if arguments.port is not None:
        check_integer("port", arguments.port, least=1)
    quiet()
    from hf_ruleextrap.demo.app import launch

    load_own_languages(arguments)
    runs = arguments.runs or (["runs"] if any(Path("runs").glob("*/results.json")) else [])
    launch(
        runs,
        languages=arguments.language,
        servers=True,
        port=arguments.port,
        inbrowser=arguments.open,
        server_name="127.0.0.1",
    )
