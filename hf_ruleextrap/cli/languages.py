"""``hf-ruleextrap languages``."""

from __future__ import annotations

import argparse

from .common import Commands, add_json, print_json


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("languages", help="list the languages and their rules")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print them."""
    from hf_ruleextrap.languages import get_language, list_languages

    languages = [get_language(name) for name in list_languages()]
    if arguments.json:
        print_json(
            {
                "name": language.name,
                "summary": language.summary,
                "level": language.level,
                "alphabet": language.alphabet,
                "rules": [{"name": rule.name, "summary": rule.summary} for rule in language.rules],
                "prompt_length": language.prompt_length,
            }
            for language in languages
        )
        return
    for language in languages:
        print(f"{language.name:8} {language.summary}  ({language.level})")
        for i, rule in enumerate(language.rules, start=1):
            print(f"{'':8} R{i} {rule.summary}")
