"""``hf-ruleextrap sample``."""

from __future__ import annotations

import argparse

from .common import Commands, add_json, add_paper, natural, print_json, print_lines


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("sample", help="draw words of a language")
    parser.add_argument("language")
    parser.add_argument("-n", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--max-length", type=int, default=64, help="most symbols in a word (default 64)")
    parser.add_argument("--seed", type=int, default=0)
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print words."""
    import numpy as np

    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    rng = np.random.default_rng(natural("seed", arguments.seed))
    words = list(language.sample(arguments.n, max_length=arguments.max_length, rng=rng))
    if arguments.json:
        print_json(words)
    else:
        print_lines(words)
