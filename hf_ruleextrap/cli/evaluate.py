"""``hf-ruleextrap evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .common import Commands, add_checkpoint, add_json, add_paper, print_json, quiet

if TYPE_CHECKING:
    from hf_ruleextrap.formal import Language, WordBatch


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("evaluate", help="complete the prompts with a checkpoint and score them")
    add_checkpoint(parser)
    parser.add_argument("--prompt-length", type=int, help="symbols in a prompt (default: the language's)")
    parser.add_argument(
        "--max-new-symbols", type=int, help="length limit of a completion (default: the checkpoint's, else 256)"
    )
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Complete, score, print."""
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    if arguments.prompt_length is not None:
        language.prompts(length=arguments.prompt_length)
    quiet()
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation import Evaluator

    model = LocalModel.from_pretrained(arguments.model, language, trust_remote_code=arguments.trust_remote_code)
    limit = model.default_limit if arguments.max_new_symbols is None else arguments.max_new_symbols
    evaluator = Evaluator(
        language,
        prompt_length=arguments.prompt_length,
        max_new_symbols=limit,
        train_words=training_words(Path(arguments.model), language),
    )
    evaluation = evaluator(model)
    if arguments.json:
        print_json({"model": arguments.model, **evaluation.to_dict()})
        return
    from hf_ruleextrap.evaluation.table import show

    show(evaluation, f"{arguments.model} on {language.name}: {language.summary}")


def training_words(folder: Path, language: Language) -> WordBatch | None:
    """What a checkpoint was trained on, where it lies in its run folder (or in that folder's ``last/``)."""
    from hf_ruleextrap.languages import get_language
    from hf_ruleextrap.train.recipe import Recipe, splits_of

    for note in (folder / "recipe.yaml", folder.parent / "recipe.yaml"):
        if note.exists():
            recipe = Recipe.from_file(note)
            if get_language(recipe.language).name == language.name:
                return splits_of(recipe, language).train
    return None
