"""The command line ``hf-ruleextrap``: a module for each group of commands. Large libraries are imported late."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hf_ruleextrap import __version__
from hf_ruleextrap.costs import any_cost
from hf_ruleextrap.errors import RuleExtrapError

from . import evaluate, languages, measures, publish, studies, training
from .boundary import check_words, run_command
from .common import Commands, Parser, add_yes
from .training import train

__all__ = ["build_parser", "main", "train"]

_COMPLETION = {
    "bash": "hf-ruleextrap completion bash > ~/.local/share/bash-completion/completions/hf-ruleextrap",
    "zsh": "hf-ruleextrap completion zsh > ~/.zfunc/_hf-ruleextrap, with `fpath+=~/.zfunc` before compinit in .zshrc",
    "tcsh": "hf-ruleextrap completion tcsh > ~/.hf-ruleextrap.csh, with `source ~/.hf-ruleextrap.csh` in .cshrc",
}
"""The command that installs the completion script of each shell."""


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
        with_recipe_flags: Whether the parser knows the flags of ``train``, which take a second to import.
    """
    parser = Parser(prog="hf-ruleextrap", description="Rule extrapolation in language models.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    # The order of the commands in `--help`: the mathematics, one model, many models.
    for module in (languages, training, evaluate, measures, studies, publish):
        module.add(commands)
    _add_completion(commands)
    for name, command_parser in commands.choices.items():
        if name != "train":
            add_yes(command_parser)
        elif with_recipe_flags:
            training.add_flags(command_parser)
    return parser


def _add_completion(commands: Commands) -> None:
    parser = commands.add_parser(
        "completion",
        help="print a script that lets a shell complete commands and flags",
        epilog="To install the script: " + "; ".join(_COMPLETION.values()),
    )
    parser.add_argument("shell", choices=tuple(_COMPLETION), help="the shell")
    parser.set_defaults(run=_completion)


def _completion(arguments: argparse.Namespace) -> None:
    """Print the completion script of a shell.

    Raises:
        RuleExtrapError: If the package shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise RuleExtrapError("completion needs shtab: pip install 'hf-ruleextrap[completion]'") from None
    print(shtab.complete(build_parser(with_recipe_flags=True), arguments.shell))
