"""``hf-ruleextrap evaluate``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import hold, safe_name

from .common import (
    Commands,
    add_checkpoint,
    add_json,
    add_paper,
    add_wait,
    knows_text,
    print_json,
    print_not_run,
    quiet,
)

if TYPE_CHECKING:
    from hf_ruleextrap.completers import TextCompleter
    from hf_ruleextrap.evaluation.protocol import ProtocolSettings
    from hf_ruleextrap.evaluation.text import TextRun
    from hf_ruleextrap.formal import Language, WordBatch

# The protocol's own flags; any of them asks for it.
_SWITCHES = ("chat", "controls", "dry_run", "rules_stated")
_VALUES = ("alphabet", "backend", "base_url", "key_env", "kind", "limit", "out", "samples", "shots", "tokenizer")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="complete the prompts with a checkpoint, or any language model, and score them",
        description="A checkpoint whose tokenizer has one token a symbol, and no spaces, is asked symbol by symbol. "
        "Any other model is asked by the text protocol, as is every model with one of the protocol's flags.",
    )
    add_checkpoint(parser)
    parser.add_argument("--prompt-length", type=int, help="symbols in a prompt (default: the language's)")
    parser.add_argument(
        "--max-new-symbols",
        type=int,
        help="length limit of a completion (default: the checkpoint's, else 256; as text, twice a context word)",
    )
    add_paper(parser)
    add_json(parser)
    _add_protocol(parser)
    parser.set_defaults(run=run)


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the text protocol, for any language model")
    group.add_argument("--protocol", choices=("v2", "symbols"), help="ask as text, or symbol by symbol")
    group.add_argument("--backend", help="hf, openai, replay, or my.py:Class (default hf; openai with --base-url)")
    group.add_argument("--base-url", help="of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    group.add_argument("--key-env", help="the environment variable with the server's key (default OPENAI_API_KEY)")
    group.add_argument("--tokenizer", help="of a server's model, to check that each symbol is one token")
    group.add_argument("--chat", action="store_true", help="ask in a conversation, not in a plain text")
    group.add_argument("--rules-stated", action="store_true", help="say the rules in words before the examples")
    group.add_argument("--alphabet", help="what stands for the symbols (default letters)")
    group.add_argument("--shots", type=int, help="context words before each prompt (default 32)")
    group.add_argument("--samples", type=int, help="completions drawn for each prompt besides the greedy (default 8)")
    group.add_argument("--limit", type=int, help="at most so many prompts, chosen at random")
    group.add_argument("--kind", choices=("id", "ood"), help="of the prompts (default ood)")
    group.add_argument("--seed", type=int, default=0, help="of contexts, subsets and draws (default 0)")
    group.add_argument("--controls", action="store_true", help="also with each parameter of the protocol changed")
    group.add_argument("--out", help="the folder for answers and results (default evaluations/MODEL-LANGUAGE)")
    add_wait(group)
    group.add_argument("--dry-run", action="store_true", help="print three prompts and the estimate, ask nothing")
    group.add_argument("--concurrency", type=int, default=4, help="most requests to a server at once (default 4)")
    group.add_argument("--timeout", type=float, default=120.0, help="seconds for one whole request (default 120)")
    group.add_argument(
        "--max-wait", type=float, default=60.0, help="most seconds before a request is sent again (default 60)"
    )
    group.add_argument("--retries", type=int, default=4, help="how often a request is sent again (default 4)")
    group.add_argument("--batch-size", type=int, default=32, help="prompts through a local model at once (default 32)")


def run(arguments: argparse.Namespace) -> None:
    """Complete, score, print."""
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    if arguments.prompt_length is not None:
        language.prompts(length=arguments.prompt_length)
    if _by_protocol(arguments):
        _run_protocol(arguments)
        return
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
        print_json({"model": arguments.model, "protocol": "symbols", **evaluation.to_dict()})
        return
    from hf_ruleextrap.evaluation.table import show

    show(evaluation, f"{arguments.model} on {language.name}: {language.summary}; symbol by symbol")


def _by_protocol(arguments: argparse.Namespace) -> bool:
    """Whether to ask as text: if it is said, by any flag of the protocol, or if the tokenizer knows spaces."""
    if arguments.protocol is not None:
        return bool(arguments.protocol != "symbols")
    given = vars(arguments)
    if any(given[name] for name in _SWITCHES) or any(given[name] is not None for name in _VALUES):
        return True
    return knows_text(arguments.model, trust_remote_code=arguments.trust_remote_code)


def _run_protocol(arguments: argparse.Namespace) -> None:
    if arguments.paper:
        raise RuleExtrapError("the text protocol has no --paper: leave it out, or give --protocol symbols")
    settings = _settings(arguments)
    if not arguments.base_url or arguments.tokenizer:
        quiet()
    out = Path(arguments.out or f"evaluations/{safe_name(arguments.model)}-{safe_name(settings.language)}")
    from hf_ruleextrap.evaluation.text import TextRun

    encode = _encoder(arguments.tokenizer) if arguments.tokenizer else None
    work = TextRun(
        _completer(arguments), arguments.model, settings, controls=arguments.controls, out=out, encode=encode
    )
    if arguments.dry_run:
        for number, text in enumerate(work.shown(), start=1):
            print(f"--- prompt {number} ---\n{text}")
        print(f"--- {work.estimate()}")
        return
    with hold(out, wait=arguments.wait):
        _ask(work, arguments)


def _ask(work: TextRun, arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from hf_ruleextrap.evaluation.protocol import PROTOCOL_VERSION
    from hf_ruleextrap.evaluation.text.table import show

    estimate = work.estimate()
    print(f"by protocol v{PROTOCOL_VERSION}: {estimate}; answers in {work.out}", file=sys.stderr)
    # No bar where nobody watches.
    with tqdm(total=estimate.requests, unit="answer", disable=None, file=sys.stderr) as bar:
        evaluation = work(lambda: bar.update())
    if arguments.json:
        print(evaluation.model_dump_json(indent=2))
    else:
        show(evaluation)
        print(f"results: {work.out}/evaluation.json")
    missing = sum(condition.unanswered for condition in evaluation.conditions)
    if missing:
        faults = ", ".join(f"{fault} ({said})" if said else fault for fault, said in evaluation.faults.items())
        raise RuleExtrapError(f"{missing} answers are missing: {faults}; give the same command again to ask for them")


def _settings(arguments: argparse.Namespace) -> ProtocolSettings:
    from hf_ruleextrap.evaluation.protocol import ProtocolSettings

    lengths = () if arguments.prompt_length is None else (arguments.prompt_length,)
    given = {
        "alphabet": arguments.alphabet,
        "shots": arguments.shots,
        "samples": arguments.samples,
        "kind": arguments.kind,
        "max_new_symbols": arguments.max_new_symbols,
    }
    return ProtocolSettings(
        arguments.language,
        prompt_lengths=lengths,
        limit=arguments.limit,
        rules_stated=arguments.rules_stated,
        chat=arguments.chat,
        seed=arguments.seed,
    ).with_changes(**{name: value for name, value in given.items() if value is not None})


def _completer(arguments: argparse.Namespace) -> TextCompleter:
    from hf_ruleextrap.completers import BackendConfig, text_completer

    name = arguments.backend or ("openai" if arguments.base_url else "hf")
    backend = BackendConfig(
        model=arguments.model,
        base_url=arguments.base_url,
        key_env=arguments.key_env,
        concurrency=arguments.concurrency,
        timeout=arguments.timeout,
        retries=arguments.retries,
        max_wait=arguments.max_wait,
        batch_size=arguments.batch_size,
        trust_remote_code=arguments.trust_remote_code,
    )
    return text_completer(name, backend)


def _encoder(name: str):  # type: ignore[no-untyped-def]  # a tokenizer's own method
    from hf_ruleextrap.completers.loading import load_tokenizer
    from hf_ruleextrap.completers.tokens import TextTokens

    return TextTokens(load_tokenizer(name), name).plain


def training_words(folder: Path, language: Language) -> WordBatch | None:
    """The words that a checkpoint was trained on, where it lies in its run folder, or in that folder's ``last/``."""
    from hf_ruleextrap.train.folder import LAST, RunFolder

    run = RunFolder(folder.parent if folder.name == LAST else folder)
    if (recipe := run.recipe()) is not None:
        print_not_run([recipe.language])
    return run.training_words(language)
