"""``hf-ruleextrap mass``."""

from __future__ import annotations

import argparse

from hf_ruleextrap.errors import counted

from .common import Commands, add_checkpoint, add_json, complete_checkpoint, import_models, print_json


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("mass", help="compute the exact probability of all short words under a checkpoint")
    add_checkpoint(parser)
    parser.add_argument("--max-length", type=int, default=8, help="largest number of symbols in a word (default 8)")
    parser.add_argument("--out", help="draw the probability of every word into this file (.png, .svg, .pdf)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the probabilities, and draw them if ``--out`` names a file."""
    complete_checkpoint(arguments)
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language)
    import_models()
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation.mass import check_size, exact_mass

    check_size(language, 1, arguments.max_length)
    if arguments.out is not None:
        from hf_ruleextrap.evaluation.figures import check_format

        check_format(arguments.out)
    model = LocalModel.from_pretrained(arguments.model, language, trust_remote_code=arguments.trust_remote_code)
    mass = exact_mass(model.model, language, max_length=arguments.max_length)
    if arguments.json:
        print_json({"model": arguments.model, **mass.to_dict()})
    else:
        print(f"{arguments.model} on the {counted(len(mass.words), 'word')} of up to {mass.max_length} symbols")
        names = {"both": "R1 and R2", "only_r1": "only R1", "only_r2": "only R2", "neither": "neither"}
        for cell, probability in mass.cells.items():
            print(f"  {probability:.6f}  {names[cell]}")
        print(f"  {mass.longer:.6f}  longer words, or words with a special token")
        print(f"  {mass.impossible:.6f}  a symbol after which no word of {language.name} is possible")
    if arguments.out is not None:
        from hf_ruleextrap.evaluation.figures import new_figure, save_figure
        from hf_ruleextrap.evaluation.mass_plot import draw_words

        figure = new_figure(10, 3.2, f"{arguments.model} on {language.name}")
        draw_words(figure, mass, language)
        save_figure(figure, arguments.out)
