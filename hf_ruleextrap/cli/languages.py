"""``hf-ruleextrap languages``."""

from __future__ import annotations

import argparse

from .common import Commands, add_json, print_json


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("languages", help="list the languages and their rules, by level")
    parser.add_argument("--level", help="only this one, e.g. regular")
    parser.add_argument("--tag", help="only languages with this tag, e.g. paper")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print them."""
    from hf_ruleextrap.formal import LEVELS
    from hf_ruleextrap.languages import get_language, list_languages

    languages = [get_language(name) for name in list_languages(level=arguments.level, tag=arguments.tag)]
    languages.sort(key=lambda language: LEVELS.index(language.level))
    if arguments.json:
        print_json(
            {
                "name": language.name,
                "summary": language.summary,
                "level": language.level,
                "tags": language.tags,
                "alphabet": language.alphabet,
                "rules": [{"name": rule.name, "summary": rule.summary} for rule in language.rules],
                "prompt_length": language.prompt_length,
            }
            for language in languages
        )
        return
    width = max((len(language.name) for language in languages), default=0)
    for level in LEVELS:
        of_level = [language for language in languages if language.level == level]
        if of_level:
            print(f"{level} ({len(of_level)})")
        for language in of_level:
            tags = f"  [{', '.join(language.tags)}]" if language.tags else ""
            print(f"  {language.name:{width}}  {language.summary}{tags}")
            for i, rule in enumerate(language.rules, start=1):
                print(f"  {'':{width}}  R{i} {rule.summary}")
