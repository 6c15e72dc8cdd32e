"""The commands that evaluate language models: ``evaluate``, ``discriminate``, ``lm-eval-path``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.errors import RuleExtrapError, check_integer, counted
from hf_ruleextrap.files import hold, safe_name

from .common import (
    SERVER_FLAGS,
    Commands,
    add_checkpoint,
    add_json,
    add_paper,
    add_server,
    add_wait,
    backend_of,
    complete_checkpoint,
    encoder,
    given_flags,
    given_values,
    import_models,
    print_json,
    print_not_run,
    quiet,
    refuse_flags,
    run_of,
    text_completer_of,
    tokenizer_of,
)

if TYPE_CHECKING:
    from hf_ruleextrap.evaluation import Evaluation
    from hf_ruleextrap.evaluation.discrimination import Discrimination
    from hf_ruleextrap.evaluation.protocol import ProtocolSettings
    from hf_ruleextrap.evaluation.text import TextRun
    from hf_ruleextrap.formal import Language, WordBatch


def add(commands: Commands) -> None:
    """Add the commands that evaluate language models."""
    _add_evaluate(commands)
    _add_discriminate(commands)
    _add_lm_eval(commands)


# The flags of `evaluate` that each choose the text protocol.
_TEXT_FLAGS = (
    *("alphabet", "backend", "base_url", "batch_size", "chat", "concurrency", "controls", "dry_run", "key_env", "kind"),
    *("limit", "max_reasoning_tokens", "max_wait", "out", "retries", "rules_stated", "samples", "shots", "timeout"),
    *("tokenizer", "wait"),
)


def _add_evaluate(commands: Commands) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="complete prompts with a checkpoint, or with any language model, and score the completions",
        description="A checkpoint whose tokenizer has one token for each symbol and no spaces is evaluated symbol by "
        "symbol. Any other model is evaluated by the text protocol, which each flag of the protocol also chooses.",
    )
    add_checkpoint(parser)
    parser.add_argument("--prompt-length", type=int, help="number of symbols in a prompt (default: the language's)")
    parser.add_argument(
        "--max-new-symbols",
        type=int,
        help="largest number of symbols in a completion (default: the checkpoint's limit, else 256; in the text "
        "protocol, twice the length of a context word)",
    )
    add_paper(parser)
    add_json(parser)
    _add_protocol(parser)
    parser.set_defaults(run=_evaluate)


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the text protocol, for any language model")
    group.add_argument("--protocol", choices=("v2", "symbols"), help="the text protocol (v2), or symbol by symbol")
    group.add_argument(
        "--backend", help="hf, vllm, openai, replay, or FILE.py:CLASS (default hf; openai with --base-url)"
    )
    group.add_argument("--chat", action="store_true", help="write prompts as a conversation, not as a plain text")
    group.add_argument("--rules-stated", action="store_true", help="state the rules in words before the examples")
    group.add_argument("--alphabet", help="the texts that represent the symbols (default letters)")
    group.add_argument("--shots", type=int, help="number of context words before each prompt (default 32)")
    group.add_argument(
        "--samples", type=int, help="number of completions drawn for each prompt, besides the greedy one (default 8)"
    )
    group.add_argument(
        "--max-reasoning-tokens", type=int, help="largest number of tokens of a chat model's reasoning (default 0)"
    )
    group.add_argument("--limit", type=int, help="largest number of prompts, which are chosen at random")
    group.add_argument("--kind", choices=("id", "ood"), help="the kind of prompts (default ood)")
    group.add_argument("--seed", type=int, default=0, help="random seed for prompts, contexts and samples (default 0)")
    group.add_argument(
        "--controls", action="store_true", help="also evaluate conditions that change one parameter each"
    )
    group.add_argument("--out", help="the folder for answers and results (default evaluations/MODEL-LANGUAGE)")
    add_wait(group)
    group.add_argument("--dry-run", action="store_true", help="print three prompts and the estimate, and send nothing")
    add_server(group)
    group.add_argument("--batch-size", type=int, help="number of prompts in a batch of a local model (default 32)")


def _evaluate(arguments: argparse.Namespace) -> None:
    """Complete the prompts, score the completions, and print the rates."""
    complete_checkpoint(arguments)
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    if arguments.prompt_length is not None:
        language.prompts(length=arguments.prompt_length)
    by_text, tokenizer = _way(arguments)
    if by_text:
        _run_protocol(arguments, tokenizer)
        return
    refuse_flags(arguments, _TEXT_FLAGS, "a checkpoint that is evaluated symbol by symbol", ", or give --protocol v2")
    import_models()
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation import Evaluator

    model = LocalModel.from_pretrained(
        arguments.model, language, trust_remote_code=arguments.trust_remote_code, tokenizer=tokenizer
    )
    limit = model.default_limit if arguments.max_new_symbols is None else arguments.max_new_symbols
    evaluator = Evaluator(
        language,
        prompt_length=arguments.prompt_length,
        max_new_symbols=limit,
        train_words=training_words(Path(arguments.model), language),
        seed=check_integer("--seed", arguments.seed),
        rational=True,
    )
    _print(evaluator(model, arguments.model), arguments, language.summary)


def _way(arguments: argparse.Namespace) -> tuple[bool, Any]:
    """Return whether to use the text protocol, and the checkpoint's tokenizer if the decision needed it."""
    if arguments.protocol is not None:
        return arguments.protocol != "symbols", None
    if given_flags(arguments, _TEXT_FLAGS):
        return True, None
    from hf_ruleextrap.tokenization import writes_text

    tokenizer = tokenizer_of(arguments.model, trust_remote_code=arguments.trust_remote_code)
    return tokenizer is not None and writes_text(tokenizer), tokenizer


def _print(evaluation: Evaluation, arguments: argparse.Namespace, summary: str) -> None:
    if arguments.json:
        print(evaluation.model_dump_json(indent=2))
        return
    from hf_ruleextrap.evaluation.table import show, title_of

    show(evaluation, title_of(evaluation, summary))


def _run_protocol(arguments: argparse.Namespace, tokenizer: Any) -> None:
    refuse_flags(arguments, ["paper"], "the text protocol", ", or give --protocol symbols")
    if arguments.dry_run:
        refuse_flags(arguments, ["json", "wait"], "a dry run, which sends nothing")
    backend = backend_of(arguments)
    settings = _settings(arguments)
    if not arguments.base_url or arguments.tokenizer:
        quiet()
    out = Path(arguments.out or f"evaluations/{safe_name(arguments.model)}-{safe_name(settings.language)}")
    from hf_ruleextrap.evaluation.text import TextRun

    encode = encoder(arguments.tokenizer)
    completer = text_completer_of(backend, arguments, tokenizer)
    if arguments.samples and not completer.abilities.sampling:
        refuse_flags(arguments, ["samples"], f"{arguments.model}, which draws no completions by this backend")
    work = TextRun(completer, arguments.model, settings, controls=arguments.controls, out=out, encode=encode)
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

    estimate = work.estimate()
    print(f"by protocol v{PROTOCOL_VERSION}: {estimate}; answers in {work.out}", file=sys.stderr)
    # There is no bar if stderr is not a terminal.
    with tqdm(total=estimate.requests, unit="answer", disable=None, file=sys.stderr) as bar:
        evaluation = work(lambda: bar.update())
    _print(evaluation, arguments, work.conditions["main"].the_language.summary)
    if not arguments.json:
        print(f"results: {work.out}/evaluation.json")
    missing = sum(condition.unanswered for condition in evaluation.conditions)
    if missing:
        faults = ", ".join(f"{fault} ({reason})" if reason else fault for fault, reason in evaluation.faults.items())
        raise RuleExtrapError(
            f"{counted(missing, 'answer is')} missing: {faults}; give the same command again to send these requests"
        )


def _settings(arguments: argparse.Namespace) -> ProtocolSettings:
    from hf_ruleextrap.evaluation.protocol import ProtocolSettings

    lengths = () if arguments.prompt_length is None else (arguments.prompt_length,)
    names = ("alphabet", "shots", "samples", "kind", "max_new_symbols", "max_reasoning_tokens")
    return ProtocolSettings(
        arguments.language,
        prompt_lengths=lengths,
        limit=arguments.limit,
        rules_stated=arguments.rules_stated,
        chat=arguments.chat,
        seed=arguments.seed,
    ).with_changes(**given_values(arguments, names))


def training_words(folder: Path, language: Language) -> WordBatch | None:
    """Return the training words of a checkpoint, which is a run folder or the ``last/`` of one; None without a run."""
    run = run_of(folder)
    if (recipe := run.recipe()) is not None:
        print_not_run([recipe.language])
    try:
        return run.training_words(language)
    except RuleExtrapError as error:
        # The recipe may come from somebody else, and may require too much work.
        reason = str(error).partition(":")[0]
        print(f"note: the training words of {folder} are left out, and so are the n-grams: {reason}", file=sys.stderr)
        return None


# The flags of `discriminate` that each choose the text protocol.
_SCORING_FLAGS = (*SERVER_FLAGS, "alphabet", "backend", "batch_size", "shots", "tokenizer")


def _add_discriminate(commands: Commands) -> None:
    parser = commands.add_parser(
        "discriminate",
        help="measure whether a word is more likely than a similar word that breaks one rule",
        description="The pairs of a rule are a word of the language and the nearest word that breaks only that rule. "
        "A language model of text, in this process or behind a server, reads both words after the same context "
        "lines; a checkpoint of this package reads them symbol by symbol, without a context.",
    )
    add_checkpoint(parser)
    parser.add_argument("--limit", type=int, default=64, help="largest number of pairs of a rule (default 64)")
    parser.add_argument(
        "--max-length",
        type=int,
        help="largest number of symbols in a word (default 16, or 8 times the shortest word if larger)",
    )
    parser.add_argument("--protocol", choices=("v2", "symbols"), help="the text protocol (v2), or symbol by symbol")
    parser.add_argument("--shots", type=int, help="number of context words before each pair, as text (default 32)")
    parser.add_argument("--alphabet", help="the texts that represent the symbols (default letters)")
    parser.add_argument("--backend", help="hf, vllm, openai or FILE.py:CLASS (default hf; openai with --base-url)")
    add_server(parser)
    parser.add_argument("--batch-size", type=int, help="number of texts in a batch of a local model (default 32)")
    parser.add_argument("--seed", type=int, default=0, help="random seed for words, pairs and contexts (default 0)")
    add_json(parser)
    parser.set_defaults(run=_discriminate)


def _discriminate(arguments: argparse.Namespace) -> None:
    """Draw the pairs, measure the model, and print the accuracies."""
    complete_checkpoint(arguments)
    from hf_ruleextrap.languages import get_language
    from hf_ruleextrap.tokenization import writes_text

    language = get_language(arguments.language)
    check_integer("--seed", arguments.seed)
    if arguments.max_length is not None:
        language.check_length(arguments.max_length)
    import_models()
    by_text, tokenizer = arguments.protocol == "v2" or bool(given_flags(arguments, _SCORING_FLAGS)), None
    if arguments.protocol == "symbols":
        refuse_flags(
            arguments, _SCORING_FLAGS, "a checkpoint that is evaluated symbol by symbol", ", or give --protocol v2"
        )
    elif not by_text:
        tokenizer = tokenizer_of(arguments.model, trust_remote_code=arguments.trust_remote_code)
        by_text = tokenizer is not None and writes_text(tokenizer)
    discrimination = _text(arguments, tokenizer) if by_text else _symbols(arguments, language, tokenizer)
    if arguments.json:
        print_json(discrimination.to_dict())
        return
    from hf_ruleextrap.evaluation.discrimination import show

    show(discrimination, language)


def _symbols(arguments: argparse.Namespace, language: Language, tokenizer: Any) -> Discrimination:
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation.discrimination import discriminate_symbols

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


def _add_lm_eval(commands: Commands) -> None:
    parser = commands.add_parser(
        "lm-eval-path",
        help="print the folder with the tasks for lm-evaluation-harness, for its --include_path",
        description='lm-eval run --include_path "$(hf-ruleextrap lm-eval-path)" --tasks ruleextrap_anbn …',
    )
    parser.set_defaults(run=_lm_eval)


def _lm_eval(arguments: argparse.Namespace) -> None:
    """Print the path of the folder."""
    del arguments
    from hf_ruleextrap.evaluation.lm_eval import TASKS

    print(TASKS)
