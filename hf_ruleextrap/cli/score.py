"""``hf-ruleextrap score``."""

from __future__ import annotations

import argparse
import sys

from hf_ruleextrap.errors import counted
from hf_ruleextrap.inputs import read_text

from .common import Commands, add_json, add_paper, print_json, print_report


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
    from hf_ruleextrap.evaluation.completions import parse_completions
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    name = arguments.file
    text = sys.stdin.read() if name == "-" else read_text(name, "file of completions")
    rows = parse_completions(text, name, is_csv=name.lower().endswith(".csv"))
    report = score(language, *([row[key] for row in rows] for key in ("prompt", "completion", "finished")))
    if arguments.json:
        print_json(report.to_dict())
        return
    print(f"{counted(report.n, 'completion')} of prompts of {language.name}")
    print_report(report)
