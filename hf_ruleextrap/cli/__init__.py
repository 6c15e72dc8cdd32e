"""The command line ``hf-ruleextrap``: one file for each command. Large libraries are imported when they are needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hf_ruleextrap import __version__
from hf_ruleextrap.costs import any_cost

from . import (
    architectures,
    chance,
    check,
    compare,
    completion,
    complexity,
    demo,
    discriminate,
    estimate,
    evaluate,
    explain,
    languages,
    lm_eval,
    mass,
    plot,
    prompts,
    publish,
    reach,
    recipes,
    report,
    sample,
    score,
    sweep,
    training,
)
from .boundary import check_words, run_command
from .common import Parser, add_yes
from .training import train

__all__ = ["build_parser", "main", "train"]

# The order of the commands in `--help`: the mathematics, one model, many models.
_COMMANDS = [
    languages,
    check,
    sample,
    prompts,
    chance,
    explain,
    score,
    architectures,
    recipes,
    training,
    evaluate,
    discriminate,
    lm_eval,
    mass,
    reach,
    compare,
    complexity,
    plot,
    estimate,
    sweep,
    report,
    demo,
    publish,
    completion,
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A mistake of the user is one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] == "train":
        return train(words[1:], prog="hf-ruleextrap train")

    def work() -> int | None:
        check_words(words)
        parser = build_parser()
        arguments = parser.parse_args(words)
        if arguments.command is None:
            parser.print_help()
            return 0
        with any_cost(arguments.yes):
            code: int | None = arguments.run(arguments)
        return code

    return run_command(work)


def build_parser(*, with_recipe_flags: bool = False) -> Parser:
    """Return the parser of all commands.

    Args:
        with_recipe_flags: whether the parser knows the flags of ``train``, which take a second to import.
    """
    parser = Parser(prog="hf-ruleextrap", description="Rule extrapolation in language models.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for command in _COMMANDS:
        command.add(commands)
    for name, command_parser in commands.choices.items():
        if name != "train":
            add_yes(command_parser)
        elif with_recipe_flags:
            training.add_flags(command_parser)
    return parser
