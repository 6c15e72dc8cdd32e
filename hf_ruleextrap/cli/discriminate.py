"""``hf-ruleextrap discriminate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.errors import check_integer

from .common import (
    SERVER_FLAGS,
    Commands,
    add_checkpoint,
    add_json,
    add_server,
    backend_of,
    complete_checkpoint,
    encoder,
    given_flags,
    given_values,
    import_models,
    print_json,
    refuse_flags,
    text_completer_of,
    tokenizer_of,
)

if TYPE_CHECKING:
    from hf_ruleextrap.evaluation.discrimination import Discrimination
    from hf_ruleextrap.formal import Language

_TEXT_FLAGS = (*SERVER_FLAGS, "alphabet", "backend", "batch_size", "shots", "tokenizer")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "discriminate",
        help="is a word more likely than one like it that breaks one rule?",
        description="For each rule, pairs of a word of the language and the nearest one that breaks that rule alone. "
        "A language model of text, in this process or behind a server, gets both after the same context lines; "
        "a checkpoint of ours, symbol by symbol.",
    )
    add_checkpoint(parser)
    parser.add_argument("--limit", type=int, default=64, help="most pairs of a rule (default 64)")
    parser.add_argument("--max-length", type=int, help="most symbols of a word (default 16, or 8 times the shortest)")
    parser.add_argument("--protocol", choices=("v2", "symbols"), help="ask as text, or symbol by symbol")
    parser.add_argument("--shots", type=int, help="context words before each pair, as text (default 32)")
    parser.add_argument("--alphabet", help="what stands for the symbols, as text (default letters)")
    parser.add_argument("--backend", help="hf, vllm, openai or my.py:Class (default hf; openai with --base-url)")
    add_server(parser)
    parser.add_argument("--batch-size", type=int, help="texts through the model at once (default 32)")
    parser.add_argument("--seed", type=int, default=0, help="of words, pairs and contexts (default 0)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Make the pairs, ask, print."""
    complete_checkpoint(arguments)
    from hf_ruleextrap.languages import get_language
    from hf_ruleextrap.tokenization import writes_text

    language = get_language(arguments.language)
    check_integer("--seed", arguments.seed)
    if arguments.max_length is not None:
        language.check_length(arguments.max_length)
    import_models()
    by_text, tokenizer = arguments.protocol == "v2" or bool(given_flags(arguments, _TEXT_FLAGS)), None
    if arguments.protocol == "symbols":
        refuse_flags(arguments, _TEXT_FLAGS, "a checkpoint that is asked symbol by symbol", ", or give --protocol v2")
    elif not by_text:
        tokenizer = tokenizer_of(arguments.model, trust_remote_code=arguments.trust_remote_code)
        by_text = tokenizer is not None and writes_text(tokenizer)
    found = _text(arguments, tokenizer) if by_text else _symbols(arguments, language, tokenizer)
    if arguments.json:
        print_json(found.to_dict())
        return
    from hf_ruleextrap.evaluation.discriminate_table import show

    show(found, language)


def _symbols(arguments: argparse.Namespace, language: Language, tokenizer: Any) -> Discrimination:
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation.discrimination import discriminate_symbols

    from .evaluate import training_words

    checkpoint = LocalModel.from_pretrained(
        arguments.model, language, trust_remote_code=arguments.trust_remote_code, tokenizer=tokenizer
    )
    return discriminate_symbols(
        checkpoint,
        arguments.model,
        max_length=arguments.max_length,
        limit=arguments.limit,
        train_words=training_words(Path(arguments.model), language),
        seed=arguments.seed,
    )


def _text(arguments: argparse.Namespace, tokenizer: Any) -> Discrimination:
    from hf_ruleextrap.evaluation.discrimination import discriminate_text
    from hf_ruleextrap.evaluation.protocol import ProtocolSettings

    backend = backend_of(arguments)
    settings = ProtocolSettings(
        arguments.language,
        max_word_length=arguments.max_length or 0,
        seed=arguments.seed,
        **given_values(arguments, ("alphabet", "shots")),
    )
    completer = text_completer_of(backend, arguments, tokenizer)
    encode = encoder(arguments.tokenizer)
    return discriminate_text(completer, arguments.model, settings, limit=arguments.limit, encode=encode)
