"""``hf-ruleextrap check``."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from .common import Commands, add_json, add_paper, print_json


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check", help="check a language against its contract; each failure shows its smallest case"
    )
    parser.add_argument("language", help="the name of a language, or FILE.py:CLASS")
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print all findings. Return 1 if a check fails, else 0."""
    from hf_ruleextrap.formal.contract import check
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    findings = check(language)
    failed = [finding for finding in findings if not finding.holds]
    if arguments.json:
        rows = [asdict(finding) for finding in findings]
        print_json({"language": language.name, "holds": not failed, "findings": rows})
        return int(bool(failed))
    for finding in findings:
        print(f"{'ok  ' if finding.holds else 'FAIL'}  {finding.check}: {finding.detail}")
    if failed:
        print(f"{language.name}: {len(failed)} of {len(findings)} checks failed; correct {failed[0].check!r} first")
    else:
        print(f"{language.name}: all {len(findings)} checks hold")
    return int(bool(failed))
