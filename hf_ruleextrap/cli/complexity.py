"""``hf-ruleextrap complexity``."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

from .common import Commands, add_json, quiet


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "complexity", help="what an architecture pays to learn a language: its code length on a stream of words"
    )
    parser.add_argument("language", help="a name, or FILE.py:CLASS")
    parser.add_argument("--architecture", default="lstm", help="the architecture (default lstm)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the stream and the weights (default 0)")
    parser.add_argument("--max-steps", type=int, help="number of batches of the stream (default: the recipe's)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train on a stream in a temporary folder, and place the language among the built-in ones."""
    from hf_ruleextrap.formal.measures import MEASURES, complexity
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language)
    quiet()
    from hf_ruleextrap.report.network_complexity import reference_excess
    from hf_ruleextrap.train.recipe import Recipe
    from hf_ruleextrap.train.recipe_files import read_recipe
    from hf_ruleextrap.train.run import run_recipe

    base = read_recipe("stream", Recipe.model_fields)
    keys = {"language": arguments.language, "architecture": arguments.architecture, "seed": arguments.seed}
    if arguments.max_steps is not None:
        keys |= {"max_steps": arguments.max_steps, "eval_steps": arguments.max_steps}
    with TemporaryDirectory() as folder:
        recipe = Recipe.over(base, {**keys, "output_dir": str(Path(folder, "run"))}, "command line")
        lengths = run_recipe(recipe).code_length
    assert lengths is not None
    measures = complexity(language, max_length=recipe.max_length).to_dict()
    # The lengths of other streams are not comparable.
    references = reference_excess(arguments.architecture) if arguments.max_steps is None else {}
    if arguments.json:
        print(
            json.dumps(
                {
                    **lengths.model_dump(mode="json"),
                    "excess_bits": lengths.excess_bits,
                    "measures": {name: measures[name] for name in MEASURES},
                    "references": references,
                },
                indent=2,
            )
        )
        return
    bit = math.log(2)
    print(
        f"{language.name} · {arguments.architecture} · seed {recipe.seed} · {lengths.words:,} words, "
        f"{lengths.tokens:,} tokens"
    )
    rows = {"uniform code": lengths.uniform, **{f"{n} learner": nats for n, nats in lengths.ngrams.items()}}
    rows |= {arguments.architecture: lengths.nats + lengths.choice, "the language itself": lengths.data}
    for name, nats in rows.items():
        print(f"  {name:<22} {nats / bit:>12,.0f} bits, excess {(nats - lengths.data) / bit:>10,.0f}")
    print("  " + ", ".join(f"{heading}: {_shown(measures[name])}" for name, heading in MEASURES.items()))
    if references:
        ranked = sorted([*references.items(), (f"> {language.name}", lengths.excess_bits)], key=lambda pair: pair[1])
        place = next(i for i, (name, _) in enumerate(ranked) if name.startswith("> "))
        print(f"place {place + 1} of {len(ranked)} among the built-in languages that were measured, easiest first:")
        for name, bits in ranked[max(0, place - 2) : place + 3]:
            print(f"  {name:<22} {bits:>10,.0f} bits")


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
