"""``hf-ruleextrap sample``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from time import perf_counter

from hf_ruleextrap.costs import MOST_SECONDS, check_cost
from hf_ruleextrap.errors import check_integer

from .common import Commands, add_json, add_paper, print_lines

_BATCH_WORDS = 1 << 16
"""The number of words that are drawn and printed together."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("sample", help="draw words of a language")
    parser.add_argument("language")
    parser.add_argument("-n", type=int, default=10, help="number of words (default 10)")
    parser.add_argument("--max-length", type=int, default=64, help="largest number of symbols in a word (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="random seed for drawing words (default 0)")
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print words as they are drawn."""
    batches = _batches(arguments)
    if not arguments.json:
        for words in batches:
            print_lines(words)
        return
    between = "[\n"
    for words in batches:
        print(between + ",\n".join(f"  {json.dumps(word)}" for word in words), end="")
        between = ",\n"
    print("\n]")


def _batches(arguments: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the words in batches, so that any number of words fits into memory."""
    import numpy as np

    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    rng = np.random.default_rng(check_integer("--seed", arguments.seed))
    n = check_integer("-n", arguments.n)
    for first in range(0, max(n, 1), _BATCH_WORDS):
        started = perf_counter()
        words = list(language.sample(min(n - first, _BATCH_WORDS), max_length=arguments.max_length, rng=rng))
        if first == 0 and n > _BATCH_WORDS:
            seconds_a_word = (perf_counter() - started) / len(words)
            check_cost(
                f"drawing {n:,} words",
                f"draw at most {int(MOST_SECONDS / seconds_a_word):,}",
                seconds=n * seconds_a_word,
            )
        yield words
