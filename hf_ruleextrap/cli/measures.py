"""The commands that measure checkpoints and architectures: ``mass``, ``reach``, ``compare``, ``complexity``."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

from hf_ruleextrap.errors import RuleExtrapError, check_integer, counted, folded

from .common import (
    Commands,
    add_checkpoint,
    add_json,
    add_language,
    complete_checkpoint,
    import_models,
    language_of,
    print_json,
    quiet,
)
from .evaluate import training_words


def add(commands: Commands) -> None:
    """Add the commands that measure checkpoints and architectures."""
    _add_mass(commands)
    _add_reach(commands)
    _add_compare(commands)
    _add_complexity(commands)


def _check_out(arguments: argparse.Namespace) -> None:
    """Refuse a file of ``--out`` that no figure can be written to, before the computation starts."""
    if arguments.out is not None:
        from hf_ruleextrap.evaluation.figures import check_format

        check_format(arguments.out)


def _add_mass(commands: Commands) -> None:
    parser = commands.add_parser("mass", help="compute the exact probability of all short words under a checkpoint")
    add_checkpoint(parser)
    parser.add_argument("--max-length", type=int, default=8, help="largest number of symbols in a word (default 8)")
    parser.add_argument("--out", help="draw the probability of every word into this file (.png, .svg, .pdf)")
    add_json(parser)
    parser.set_defaults(run=_mass)


def _mass(arguments: argparse.Namespace) -> None:
    """Print the probabilities, and draw them if ``--out`` names a file."""
    complete_checkpoint(arguments)
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language)
    import_models()
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation.mass import check_size, exact_mass

    check_size(language, 1, arguments.max_length)
    _check_out(arguments)
    model = LocalModel.from_pretrained(arguments.model, language, trust_remote_code=arguments.trust_remote_code)
    mass = exact_mass(model.model, language, max_length=arguments.max_length)
    if arguments.json:
        print_json({"model": arguments.model, **mass.to_dict()})
    else:
        title = f"{arguments.model} on the {counted(len(mass.words), 'word')} of up to {mass.max_length} symbols"
        print(folded(title, 2))
        names = {"both": "R1 and R2", "only_r1": "only R1", "only_r2": "only R2", "neither": "neither"}
        for cell, probability in mass.cells.items():
            print(f"  {probability:.6f}  {names[cell]}")
        print(f"  {mass.longer:.6f}  longer words, or words with a special token")
        print(folded(f"  {mass.impossible:.6f}  a symbol after which no word of {language.name} is possible", 12))
    if arguments.out is not None:
        from hf_ruleextrap.evaluation.figures import draw_words, new_figure, save_figure

        figure = new_figure(10, 3.2, f"{arguments.model} on {language.name}")
        draw_words(figure, mass, language)
        save_figure(figure, arguments.out)


def _add_reach(commands: Commands) -> None:
    parser = commands.add_parser("reach", help="measure up to which length a checkpoint's rates hold")
    add_checkpoint(parser)
    parser.add_argument(
        "--train-length",
        type=int,
        help="number of symbols in the longest training word (default: read from the run folder)",
    )
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        help="lengths of the prompts (default: from a quarter of the training length to 4 times that length)",
    )
    parser.add_argument(
        "--prompts", type=int, default=100, help="number of prompts of each kind and length (default 100)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed for drawing prompts (default 0)")
    parser.add_argument("--out", help="draw the rates against the length into this file (.png, .svg, .pdf)")
    add_json(parser)
    parser.set_defaults(run=_reach)


def _reach(arguments: argparse.Namespace) -> None:
    """Print the rates by length, and draw them if ``--out`` names a file."""
    complete_checkpoint(arguments)
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language)
    _check_out(arguments)
    import_models()
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation.lengths import draw_reach, measure_reach, table_lines

    train_length = arguments.train_length
    if train_length is None:
        words = training_words(Path(arguments.model), language)
        if words is None:
            raise RuleExtrapError(
                f"the training words of {arguments.model} are not known: pass --train-length, the number of symbols in "
                "the longest training word"
            )
        train_length = int(words.lengths.max())
    model = LocalModel.from_pretrained(arguments.model, language, trust_remote_code=arguments.trust_remote_code)
    reach = measure_reach(
        model,
        language,
        train_length=train_length,
        lengths=arguments.lengths,
        n=arguments.prompts,
        seed=check_integer("seed", arguments.seed),
    )
    if arguments.json:
        print_json({"model": arguments.model, **reach.to_dict()})
    else:
        print(folded(f"{arguments.model} on {language.name}: {language.summary}", 2))
        for line in table_lines(reach):
            print(folded(line, 15))
    if arguments.out is not None:
        from hf_ruleextrap.evaluation.figures import new_figure, save_figure

        figure = new_figure(11, 3.4, f"{arguments.model} on {language.name}, trained on up to {train_length} symbols")
        draw_reach(figure, reach)
        save_figure(figure, arguments.out)


def _add_compare(commands: Commands) -> None:
    parser = commands.add_parser("compare", help="compare two checkpoints, prompt by prompt, on the same prompts")
    parser.add_argument("models", nargs=2, metavar="RUN", help="a run folder, or a repository on the Hub")
    add_language(parser)
    parser.add_argument("--trust-remote-code", action="store_true", help="allow the code beside a checkpoint to run")
    parser.add_argument("--prompt-length", type=int, help="number of symbols in a prompt (default: the language's)")
    parser.add_argument(
        "--max-new-symbols",
        type=int,
        help="largest number of symbols in a completion (default: the smaller limit of the two checkpoints)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed for drawing prompts (default 0)")
    parser.add_argument("--out", help="draw the comparison into this file (.png, .svg, .pdf)")
    add_json(parser)
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> None:
    """Print the paired differences, and draw them if ``--out`` names a file."""
    first, second = arguments.models
    language = language_of(first, arguments.language)
    if arguments.language is None and (other := language_of(second, None)).name != language.name:
        raise RuleExtrapError(
            f"{first} was trained on {language.name} and {second} on {other.name}: give --language, the language of "
            "the prompts"
        )
    _check_out(arguments)
    import_models()
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation.comparison import compare, draw, paired_table, prompt_lines
    from hf_ruleextrap.evaluation.table import print_line, print_table

    ours, theirs = (
        LocalModel.from_pretrained(model, language, trust_remote_code=arguments.trust_remote_code)
        for model in arguments.models
    )
    limit = arguments.max_new_symbols
    comparison = compare(
        ours,
        theirs,
        language,
        models=(first, second),
        prompt_length=arguments.prompt_length,
        max_new_symbols=min(ours.default_limit, theirs.default_limit) if limit is None else limit,
        seed=check_integer("seed", arguments.seed),
    )
    if arguments.json:
        print_json(comparison.to_dict())
    else:
        title = f"{first} (1st) and {second} (2nd) on {language.name}: {language.summary}"
        print_table(title, paired_table(comparison), texts=("over all prompts",), grouped=True)
        print("prompts on which the models differ: prompt │ 1st completion │ 2nd completion")
        for line in prompt_lines(comparison) or ["  none"]:
            print_line(line, indent=12)
    if arguments.out is not None:
        from hf_ruleextrap.evaluation.figures import new_figure, save_figure

        title = f"{first} (first) and {second} (second) on {language.name}"
        figure = new_figure(11, 1.2 + 0.45 * len(comparison.rates), title)
        draw(figure, comparison)
        save_figure(figure, arguments.out)


def _add_complexity(commands: Commands) -> None:
    parser = commands.add_parser(
        "complexity", help="what an architecture pays to learn a language: its code length on a stream of words"
    )
    parser.add_argument("language", help="a name, or FILE.py:CLASS")
    parser.add_argument("--architecture", default="lstm", help="the architecture (default lstm)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the stream and the weights (default 0)")
    parser.add_argument("--max-steps", type=int, help="number of batches of the stream (default: the recipe's)")
    add_json(parser)
    parser.set_defaults(run=_complexity)


def _complexity(arguments: argparse.Namespace) -> None:
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
                    "measures": {name: measures[name] for name in ("description_length", *MEASURES)},
                    "references": references,
                },
                indent=2,
            )
        )
        return
    bit = math.log(2)
    run = f"{language.name} · {arguments.architecture} · seed {recipe.seed}"
    print(folded(f"{run} · {lengths.words:,} words, {lengths.tokens:,} tokens", 2))
    rows = {"uniform code": lengths.uniform, **{f"{n} learner": nats for n, nats in lengths.ngrams.items()}}
    rows |= {arguments.architecture: lengths.nats + lengths.choice, "the language itself": lengths.data}
    for name, nats in rows.items():
        print(f"  {name:<22} {nats / bit:>12,.0f} bits, excess {(nats - lengths.data) / bit:>10,.0f}")
    for name, heading in MEASURES.items():
        print(f"  {heading:<30} {_shown(measures[name])}")
    if references:
        ranked = sorted([*references.items(), (f"> {language.name}", lengths.excess_bits)], key=lambda pair: pair[1])
        place = next(i for i, (name, _) in enumerate(ranked) if name.startswith("> "))
        print(f"place {place + 1} of {len(ranked)} among the measured built-in languages, easiest first:")
        for name, bits in ranked[max(0, place - 2) : place + 3]:
            print(f"  {name:<22} {bits:>10,.0f} bits")


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
