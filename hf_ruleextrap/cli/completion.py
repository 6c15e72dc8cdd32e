"""``hf-ruleextrap completion``."""

from __future__ import annotations

import argparse

from hf_ruleextrap.errors import RuleExtrapError

from .common import Commands

_INSTALL = {
    "bash": "hf-ruleextrap completion bash > ~/.local/share/bash-completion/completions/hf-ruleextrap",
    "zsh": "hf-ruleextrap completion zsh > ~/.zfunc/_hf-ruleextrap, with `fpath+=~/.zfunc` before compinit in .zshrc",
    "tcsh": "hf-ruleextrap completion tcsh > ~/.hf-ruleextrap.csh, with `source ~/.hf-ruleextrap.csh` in .cshrc",
}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help="print a script that lets a shell complete commands and flags",
        epilog="To install the script: " + "; ".join(_INSTALL.values()),
    )
    parser.add_argument("shell", choices=tuple(_INSTALL), help="the shell")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the completion script of a shell.

    Raises:
        RuleExtrapError: the package shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise RuleExtrapError("completion needs shtab: pip install 'hf-ruleextrap[completion]'") from None
    from . import build_parser

    print(shtab.complete(build_parser(with_recipe_flags=True), arguments.shell))
