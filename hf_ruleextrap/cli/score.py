"""``hf-ruleextrap score``."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from typing import Any

from hf_ruleextrap.errors import RuleExtrapError, counted
from hf_ruleextrap.inputs import parse_json_lines, read_text

from .common import Commands, add_json, add_paper, print_json, print_report

_EXAMPLE = '{"prompt": "…", "completion": "…", "finished": true}'


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("score", help="score completions from a file of JSON lines, or a CSV file")
    parser.add_argument(
        "file",
        help='lines of {"prompt": …, "completion": …, "finished": true}, or a .csv file with these columns; '
        "- reads standard input",
    )
    parser.add_argument("--language", required=True, help="the name of a language, or FILE.py:CLASS")
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the rates of the completions."""
    from hf_ruleextrap.evaluation import score
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    rows = _read_rows(arguments.file)
    report = score(language, *([row[key] for row in rows] for key in ("prompt", "completion", "finished")))
    if arguments.json:
        print_json(report.to_dict())
        return
    print(f"{counted(report.n, 'completion')} of prompts of {language.name}")
    print_report(report)


def _read_rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of a file of completions. A row without ``finished`` counts as finished."""
    from hf_ruleextrap.formal.scoring import finished_flags

    text = sys.stdin.read().removeprefix("\ufeff") if name == "-" else read_text(name, "file of completions")
    rows = []
    for number, row in _parse_csv(text) if name.lower().endswith(".csv") else parse_json_lines(text, name, _EXAMPLE):
        if not {"prompt", "completion"} <= row.keys():
            raise RuleExtrapError(f"{name}, line {number}, lacks a prompt or a completion: write {_EXAMPLE}")
        try:
            finished = bool(finished_flags([row.get("finished", True)])[0])
        except RuleExtrapError:
            value = f"{row['finished']!r:.40}"
            raise RuleExtrapError(
                f"{name}, line {number}: finished is {value}: write true or false (or 1 or 0)"
            ) from None
        rows.append({**row, "finished": finished})
    return rows


def _parse_csv(text: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a CSV text with a line of headings, with the number of each row's last line."""
    table = csv.DictReader(io.StringIO(text, newline=""))
    return [(table.line_num, row) for row in table]
