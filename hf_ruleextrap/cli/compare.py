"""``hf-ruleextrap compare``."""

from __future__ import annotations

import argparse

from hf_ruleextrap.errors import RuleExtrapError, check_integer

from .common import Commands, add_json, add_language, import_models, language_of, print_json, print_lines


def add(commands: Commands) -> None:
    """Add the command."""
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the paired differences, and draw them if ``--out`` names a file."""
    first, second = arguments.models
    language = language_of(first, arguments.language)
    if arguments.language is None and (other := language_of(second, None)).name != language.name:
        raise RuleExtrapError(
            f"{first} was trained on {language.name} and {second} on {other.name}: give --language, the language of "
            "the prompts"
        )
    if arguments.out is not None:
        from hf_ruleextrap.evaluation.figures import check_format

        check_format(arguments.out)
    import_models()
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation.comparison import compare, draw, prompt_lines, rates_table
    from hf_ruleextrap.evaluation.table import print_table, wide_console

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
        print_table(wide_console(140), title, rates_table(comparison), left=(0, 1))
        print("prompts on which the models differ: prompt │ 1st completion │ 2nd completion")
        print_lines(prompt_lines(comparison) or ["  none"])
    if arguments.out is not None:
        from hf_ruleextrap.evaluation.figures import new_figure, save_figure

        title = f"{first} (first) and {second} (second) on {language.name}"
        figure = new_figure(11, 1.2 + 0.45 * len(comparison.rates), title)
        draw(figure, comparison)
        save_figure(figure, arguments.out)
