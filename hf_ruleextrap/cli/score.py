"""``hf-ruleextrap score``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.inputs import parse_json_lines, read_text

from .common import Commands, add_json, add_paper, print_json, print_report

_EXAMPLE = '{"prompt": "…", "completion": "…", "finished": true}'


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("score", help="score completions from a file of JSON lines")
    parser.add_argument("file", help='lines of {"prompt": …, "completion": …, "finished": true}; - for standard input')
    parser.add_argument("--language", required=True)
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Read, score, print."""
    from hf_ruleextrap.evaluation import score
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    rows = _read_rows(arguments.file)
    report = score(language, *([row[key] for row in rows] for key in ("prompt", "completion", "finished")))
    if arguments.json:
        print_json(report.to_dict())
        return
    print(f"{report.n} completions of prompts of {language.name}")
    print_report(report)


def _read_rows(name: str) -> list[dict[str, Any]]:
    """Return the lines of a file of completions; ``finished`` is true where a line does not say so."""
    text = sys.stdin.read() if name == "-" else read_text(name, "file of completions")
    rows = []
    for number, row in parse_json_lines(text, name, _EXAMPLE):
        if not {"prompt", "completion"} <= row.keys():
            raise RuleExtrapError(f"{name}, line {number}, lacks a prompt or a completion: give {_EXAMPLE}")
        rows.append({"finished": True, **row})
    return rows
