"""``hf-ruleextrap report``."""

from __future__ import annotations

import argparse

from .common import Commands, quiet


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("report", help="write the tables and figures of all runs in a store")
    parser.add_argument(
        "stores", nargs="+", metavar="STORE", help="the folder of a sweep, of several runs, or of evaluations"
    )
    parser.add_argument(
        "--out", required=True, help="a folder: report.md, report.csv, runs.csv, report.tex, index.html, figures/"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the files."""
    quiet()
    from hf_ruleextrap.report import read_study, write_report

    study = read_study(arguments.stores)
    files = write_report(study, arguments.out)
    if study.missing:
        print(f"{len(study.missing)} runs have no results; the report names them")
    more = f" and {len(models)} language models" if (models := {row.name for row in study.rows if row.name}) else ""
    print(f"{len(study.runs)} runs{more} in {len(files)} files: open {arguments.out}/index.html")
