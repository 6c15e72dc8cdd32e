"""What several commands share: flags, checks of values, and printing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from hf_ruleextrap.errors import RuleExtrapError, one_line

if TYPE_CHECKING:
    from hf_ruleextrap.formal import Report

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"""Where a command adds its parser."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints look like all others."""

    def error(self, message: str) -> Any:
        """One line, and exit code 2."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def add_yes(parser: argparse.ArgumentParser) -> None:
    """``--yes``."""
    parser.add_argument("--yes", action="store_true", help="do work that is estimated to take much memory or time")


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_paper(parser: argparse.ArgumentParser) -> None:
    """``--paper``."""
    parser.add_argument("--paper", action="store_true", help="as in the authors' code, where that differs")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """``--model``, ``--language`` and ``--trust-remote-code``."""
    parser.add_argument("--model", required=True, help="a checkpoint: a folder, or a repository of the Hub")
    parser.add_argument("--language", required=True)
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the checkpoint brings")


def add_wait(parser: argparse._ActionsContainer) -> None:
    """``--wait``."""
    parser.add_argument("--wait", action="store_true", help="wait for another process that works in the same folder")


def add_prompt_set(parser: argparse.ArgumentParser) -> None:
    """``--kind`` and ``--length``."""
    parser.add_argument("--kind", choices=("id", "ood"), help="default: both")
    parser.add_argument("--length", type=int, help="symbols in a prompt (default: the language's)")


def quiet() -> None:
    """Keep the notices of transformers off the screen; what matters to the user is said by us."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def quiet_hub() -> None:
    """Keep the Hub's progress bars and notices off a stderr that nobody watches: one line says what happened."""
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars, logging

        disable_progress_bars()
        logging.set_verbosity_error()


def knows_text(model: str, *, trust_remote_code: bool) -> bool:
    """Whether a checkpoint's tokenizer knows spaces and line breaks; False also where none can be loaded."""
    quiet()
    from hf_ruleextrap.completers.loading import load_tokenizer
    from hf_ruleextrap.tokenization import writes_text

    try:
        tokenizer = load_tokenizer(model, trust_remote_code=trust_remote_code)
    except RuleExtrapError:
        # What is wrong with it is said by whoever loads the model.
        return False
    return writes_text(tokenizer)


def natural(name: str, value: int) -> int:
    """The value of a flag that is 0 or more."""
    if value < 0:
        raise RuleExtrapError(f"{name} is {value}: give 0 or more")
    return value


def print_json(value: Any) -> None:
    """A dictionary, or rows, as JSON."""
    print(json.dumps(value if isinstance(value, (dict, list)) else list(value), indent=2, ensure_ascii=False))


def print_lines(lines: Iterable[str]) -> None:
    """One below the other."""
    for line in lines:
        print(line)


def print_not_run(names: Iterable[str]) -> None:
    """For each language that is a class in a file, and that the user has not named, how to have its code run."""
    from hf_ruleextrap.languages import is_file, not_run, recorded_language

    for name in sorted(set(names)):
        if is_file(name) and recorded_language(name) is None:
            print(f"note: {not_run(one_line(name))}", file=sys.stderr)


def print_report(report: Report) -> None:
    """Its rates with their intervals."""
    from hf_ruleextrap.evaluation.table import interval, number

    lines = [(report.headline, "every open rule holds (OOD prompts)")] if report.headline.n else []
    lines += [(rule.word.all, f"R{i}: {rule.summary}") for i, rule in enumerate(report.rules.values(), start=1)]
    lines += [(report.grammatical, "a word of the language"), (report.finished, "completion finished")]
    for rate, what in lines:
        print(f"  {number(rate)}  {interval(rate):12}  {what}")
