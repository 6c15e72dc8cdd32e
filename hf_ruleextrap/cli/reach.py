"""``hf-ruleextrap reach``."""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_ruleextrap.errors import RuleExtrapError, check_integer

from .common import Commands, add_checkpoint, add_json, complete_checkpoint, import_models, print_json, print_lines
from .evaluate import training_words


def add(commands: Commands) -> None:
    """Add the command."""
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the rates by length, and draw them if ``--out`` names a file."""
    complete_checkpoint(arguments)
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language)
    if arguments.out is not None:
        from hf_ruleextrap.evaluation.figures import check_format

        check_format(arguments.out)
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
        print(f"{arguments.model} on {language.name}: {language.summary}")
        print_lines(table_lines(reach))
    if arguments.out is not None:
        from hf_ruleextrap.evaluation.figures import new_figure, save_figure

        figure = new_figure(11, 3.4, f"{arguments.model} on {language.name}, trained on up to {train_length} symbols")
        draw_reach(figure, reach)
        save_figure(figure, arguments.out)
