"""``hf-ruleextrap chance``."""

from __future__ import annotations

import argparse

from hf_ruleextrap.errors import counted

from .common import Commands, add_json, add_paper, add_prompt_set, print_json, print_report


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "chance", help="print the rates of random symbols, or of another reference, on a language's prompts"
    )
    parser.add_argument("language")
    add_prompt_set(parser)
    parser.add_argument(
        "--completer",
        default="uniform",
        help="the reference: uniform, always-stop, 1-gram, 2-gram, 3-gram, oracle, ceiling, or a rational learner "
        "such as rational-modular (default uniform)",
    )
    parser.add_argument(
        "--max-new-symbols", type=int, help="largest number of symbols in a completion (default: no limit)"
    )
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the rates of a reference."""
    from hf_ruleextrap.evaluation import chance
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    limit = arguments.max_new_symbols
    report = chance(
        language,
        kind=arguments.kind,
        length=arguments.length,
        completer=arguments.completer,
        max_new_symbols=limit,
    )
    if arguments.json:
        print_json(report.to_dict())
        return
    print(f"{arguments.completer} on {counted(report.n, 'prompt')} of {language.name}")
    print_report(report)
