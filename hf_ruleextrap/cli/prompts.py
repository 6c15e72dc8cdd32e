"""``hf-ruleextrap prompts``."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from hf_ruleextrap.errors import check_integer

from .common import Commands, add_json, add_paper, add_prompt_set, print_json


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("prompts", help="list the prompts of a language with their kinds and broken rules")
    parser.add_argument("language")
    parser.add_argument("--limit", type=int, help="largest number of prompts of each kind; they are chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="random seed for choosing prompts (default 0)")
    add_prompt_set(parser)
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the prompts."""
    import numpy as np

    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    rng = np.random.default_rng(check_integer("seed", arguments.seed))
    prompts = language.prompts(arguments.kind, length=arguments.length, limit=arguments.limit, rng=rng)
    if arguments.json:
        print_json(asdict(prompt) for prompt in prompts)
        return
    labels = {rule.name: f"R{i}" for i, rule in enumerate(language.rules, start=1)}
    for prompt in prompts:
        broken = ", ".join(labels[name] for name in prompt.broken) or "none alone"
        print(f"{prompt.text}  {prompt.kind}" + (f"  broken: {broken}" if prompt.kind == "ood" else ""))
