"""``hf-ruleextrap report``."""

from __future__ import annotations

import argparse
import sys

from hf_ruleextrap.errors import counted

from .common import Commands, add_wait, print_not_run, quiet


def add(commands: Commands) -> None:
    """Add the command."""
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
    parser.add_argument(
        "--language",
        metavar="FILE.py:CLASS",
        action="append",
        default=[],
        help="allow this file to run, so that the report can state the rules of its language (may be repeated)",
    )
    add_wait(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the report."""
    quiet()
    from hf_ruleextrap.languages import get_language
    from hf_ruleextrap.report import read_study, write_report

    for name in arguments.language:
        get_language(name)
    study = read_study(arguments.stores)
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
