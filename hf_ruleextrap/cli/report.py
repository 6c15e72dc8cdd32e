"""``hf-ruleextrap report``."""

from __future__ import annotations

import argparse

from .common import Commands, quiet


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("report", help="write the tables and figures of all runs in a store")
    parser.add_argument("store", help="the folder of a sweep, or of several runs")
    parser.add_argument(
        "--out", required=True, help="a folder: report.md, report.csv, report.tex, index.html, figures/"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the files."""
    quiet()
    from hf_ruleextrap.report import write_report
    from hf_ruleextrap.train.sweep import read_store

    results = read_store(arguments.store)
    files = write_report(results, arguments.out)
    print(f"{len(results)} runs in {len(files)} files: open {arguments.out}/index.html")
