"""``hf-ruleextrap languages``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .common import Commands, add_json, print_json

if TYPE_CHECKING:
    from hf_ruleextrap.formal import Language

# The largest length of the words whose entropy rate is printed.
_MAX_LENGTH = 64


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("languages", help="list the languages and their rules, ordered by level")
    parser.add_argument("--level", help="list only languages of this level, for example regular")
    parser.add_argument("--tag", help="list only languages with this tag, for example paper")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/languages.md")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the languages."""
    from hf_ruleextrap.formal import LEVELS, complexity
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
                "complexity": complexity(language, max_length=max(_MAX_LENGTH, language.shortest)).to_dict(),
            }
            for language in languages
        )
        return
    if arguments.markdown:
        print("\n".join(_table(languages)))
        return
    width = max((len(language.name) for language in languages), default=0)
    for level in LEVELS:
        level_languages = [language for language in languages if language.level == level]
        if level_languages:
            print(f"{level} ({len(level_languages)})")
        for language in level_languages:
            tags = f"  [{', '.join(language.tags)}]" if language.tags else ""
            print(f"  {language.name:{width}}  {language.summary}{tags}")
            for i, rule in enumerate(language.rules, start=1):
                print(f"  {'':{width}}  R{i} {rule.summary}")


def _table(languages: Sequence[Language]) -> Iterator[str]:
    """Yield the lines of a Markdown table with one line for each language."""
    yield "| name | words | level | rules, R1 first | tags |"
    yield "|---|---|---|---|---|"
    for language in languages:
        rules = "; ".join(rule.summary for rule in language.rules)
        cells = (f"`{language.name}`", language.summary, language.level, rules, ", ".join(language.tags))
        yield f"| {' | '.join(cells)} |"
