"""Flags, checks of values, and printing that several commands share."""

from __future__ import annotations

import argparse
import difflib
import gc
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from hf_ruleextrap.errors import RuleExtrapError, one_line

if TYPE_CHECKING:
    from hf_ruleextrap.completers import TextCompleter
    from hf_ruleextrap.formal import Language
    from hf_ruleextrap.train.folder import RunFolder
    from hf_ruleextrap.train.recipe import Recipe

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"""The object to which each command adds its parser."""


class Parser(argparse.ArgumentParser):
    """A parser whose messages look like those of the commands.

    Attributes:
        foreign_flags: For each flag of another program that users may type, the advice what to write instead.
    """

    foreign_flags: Mapping[str, str] = MappingProxyType({})

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments, and refuse those that the parser does not know."""
        self._words = list(sys.argv[1:] if args is None else args)
        namespace, rest = super().parse_known_args(self._words, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(map(repr, rest))}")
        return namespace, rest

    def error(self, message: str) -> Any:
        """Print one line and exit with code 2. An unknown flag is reported first, with the nearest known flags."""
        # argparse has no public name for the flags of a parser (`_option_string_actions`) and for its subcommands.
        flags = (word.partition("=")[0] for word in self._words if word.startswith("--") and word != "--")
        # An unknown flag may be the reason why another one is missing.
        if not self._subparsers and message.startswith(("unrecognized", "the following arguments are required")):
            unknown_flags = (flag for flag in flags if not self._knows(flag))
            message = next((self._about(flag) for flag in unknown_flags), message)
        self.exit(2, f"error: {message}; see {self.prog} --help\n")

    def _knows(self, flag: str) -> bool:
        options = self._option_string_actions
        return flag in options or (self.allow_abbrev and any(option.startswith(flag) for option in options))

    def _about(self, flag: str) -> str:
        name = flag.removeprefix("--").replace("-", "_")
        if name in self.foreign_flags:
            return f"unknown flag {flag}: {self.foreign_flags[name]}"
        # The flags of `train` are known with dashes and with underscores; the first is the one in its help.
        known = {option.replace("_", "-"): option for option in reversed(self._option_string_actions)}
        near = difflib.get_close_matches(flag.replace("_", "-"), known, n=2)
        return f"unknown flag {flag}" + (
            f" (did you mean {' or '.join(known[match] for match in near)}?)" if near else ""
        )


SERVER_FLAGS = ("base_url", "key_env", "concurrency", "timeout", "max_wait", "retries")
"""The flags of `add_server` that do not apply to a backend in this process."""


def add_server(group: argparse._ActionsContainer) -> None:
    """Add the flags of a server, each with the default None."""
    group.add_argument("--base-url", help="the URL of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    group.add_argument("--key-env", help="the environment variable with the server's key (default OPENAI_API_KEY)")
    group.add_argument("--tokenizer", help="the tokenizer of a server's model, to check that each symbol is one token")
    group.add_argument("--concurrency", type=int, help="largest number of simultaneous requests (default 4)")
    group.add_argument("--timeout", type=float, help="time limit of a whole request in seconds (default 120)")
    group.add_argument("--max-wait", type=float, help="longest wait before a retry in seconds (default 60)")
    group.add_argument("--retries", type=int, help="number of times that a request is sent again (default 4)")


def backend_of(arguments: argparse.Namespace) -> str:
    """Return the name of the backend, and refuse the flags that do not apply to the backend."""
    backend: str = arguments.backend or ("openai" if arguments.base_url else "hf")
    # A class of the user's own may read each flag.
    unused = {
        "hf": (*SERVER_FLAGS, "tokenizer"),
        "vllm": (*SERVER_FLAGS, "tokenizer"),
        "openai": ("batch_size", "trust_remote_code"),
        "replay": (*SERVER_FLAGS, "batch_size", "trust_remote_code"),
    }
    refuse_flags(arguments, unused.get(backend, ()), f"the backend {backend}")
    return backend


def text_completer_of(backend: str, arguments: argparse.Namespace, tokenizer: Any) -> TextCompleter:
    """Create the text completer that the flags describe.

    Args:
        backend: The name of `backend_of`.
        arguments: The arguments of the command.
        tokenizer: The tokenizer of the checkpoint, if it is already loaded.
    """
    from hf_ruleextrap.completers import BackendConfig, text_completer

    config = BackendConfig(
        arguments.model,
        trust_remote_code=arguments.trust_remote_code,
        tokenizer=tokenizer,
        **given_values(arguments, (*SERVER_FLAGS, "batch_size")),
    )
    return text_completer(backend, config)


def encoder(name: str | None) -> Callable[[str], list[int]] | None:
    """Return the function that returns the token ids of a text for the tokenizer of a name; None without a name."""
    if not name:
        return None
    from hf_ruleextrap.completers.in_process import TextTokens
    from hf_ruleextrap.completers.loading import load_tokenizer

    return TextTokens(load_tokenizer(name), name).plain


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add ``--yes``."""
    parser.add_argument(
        "--yes", action="store_true", help="allow work whose estimated memory or time is above the limits"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_paper(parser: argparse.ArgumentParser) -> None:
    """Add ``--paper``."""
    parser.add_argument(
        "--paper", action="store_true", help="follow the authors' code where it differs from the paper's intention"
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint, ``--language`` and ``--trust-remote-code``; see `complete_checkpoint`."""
    parser.add_argument("run_folder", nargs="?", metavar="RUN", help="the checkpoint, if --model is not given")
    parser.add_argument("--model", help="the checkpoint: a run folder, another folder, or a repository on the Hub")
    add_language(parser)
    parser.add_argument("--trust-remote-code", action="store_true", help="allow the code beside the checkpoint to run")


def add_language(parser: argparse.ArgumentParser) -> None:
    """Add ``--language``."""
    parser.add_argument(
        "--language", help="the name of a language, or FILE.py:CLASS (default: the language of the run folder)"
    )


def add_own_languages(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add ``--language FILE.py:CLASS``, which may be repeated; see `load_own_languages`."""
    parser.add_argument(
        "--language",
        metavar="FILE.py:CLASS",
        action="append",
        default=[],
        help=f"allow this file to run, {purpose} (may be repeated)",
    )


def load_own_languages(arguments: argparse.Namespace) -> None:
    """Run the files that ``--language`` allows, so that their languages are known by name."""
    from hf_ruleextrap.languages import get_language

    for name in arguments.language:
        get_language(name)


def add_wait(parser: argparse._ActionsContainer) -> None:
    """Add ``--wait``."""
    parser.add_argument("--wait", action="store_true", help="wait while another process works in the same folder")


def add_prompt_set(parser: argparse.ArgumentParser) -> None:
    """Add ``--kind`` and ``--length``."""
    parser.add_argument("--kind", choices=("id", "ood"), help="the kind of prompts (default: both)")
    parser.add_argument(
        "--length", type=int, help="number of symbols in a prompt (default: the language's prompt length)"
    )


@contextmanager
def fast_imports() -> Iterator[None]:
    """Import large libraries in the context: no garbage is collected there, and later collections skip the imports.

    The garbage collector would search several hundred thousand objects of torch and transformers again and again,
    which takes a third of the time of their import, and half a second at the end of each training.
    """
    was_enabled, modules_before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        # Freezing also keeps garbage, so it is worth doing only after an import.
        if len(sys.modules) > modules_before:
            gc.freeze()
        if was_enabled:
            gc.enable()


def import_models() -> None:
    """Import torch, transformers and the architectures of this package, and call `quiet`."""
    with fast_imports():
        import hf_ruleextrap.models  # noqa: F401

        quiet()


def quiet() -> None:
    """Silence the notices and progress bars of the libraries; the commands print what matters to the user."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def quiet_hub() -> None:
    """Silence the Hub's notices and progress bars where stderr is not a terminal; one line reports the upload."""
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars, logging

        disable_progress_bars()
        logging.set_verbosity_error()


def tokenizer_of(model: str, *, trust_remote_code: bool) -> Any:
    """Load a checkpoint's tokenizer, which decides between the protocols; None if the tokenizer cannot be loaded."""
    import_models()
    from hf_ruleextrap.completers.loading import load_tokenizer

    try:
        return load_tokenizer(model, trust_remote_code=trust_remote_code)
    except RuleExtrapError:
        # Loading the model reports the fault later.
        return None


def complete_checkpoint(arguments: argparse.Namespace) -> None:
    """Fill in ``model``, ``language`` and, if the command has the flag, ``paper`` from the run folder.

    Raises:
        RuleExtrapError: If no checkpoint is named, two are named, or the run folder does not name a known language.
    """
    if (arguments.model is None) == (arguments.run_folder is None):
        problem = "no checkpoint is named" if arguments.model is None else "two checkpoints are named"
        raise RuleExtrapError(f"{problem}: give one, as RUN or with --model")
    arguments.model = arguments.run_folder if arguments.model is None else arguments.model
    if arguments.language is None:
        recipe = run_of(arguments.model).recipe()
        arguments.language = _recorded_name(arguments.model, recipe)
        if recipe is not None and recipe.paper and hasattr(arguments, "paper"):
            arguments.paper = True


def language_of(model: str, name: str | None) -> Language:
    """Return the language of a name, or the language of a run folder if there is no name.

    Raises:
        RuleExtrapError: If the language is not known, or there is neither a name nor a run folder.
    """
    from hf_ruleextrap.languages import get_language

    if name is not None:
        return get_language(name)
    recipe = run_of(model).recipe()
    return get_language(_recorded_name(model, recipe), paper=recipe is not None and recipe.paper)


def run_of(model: str | Path) -> RunFolder:
    """Return the run folder of a checkpoint, which is the folder itself or the folder above its ``last/``."""
    from hf_ruleextrap.train.folder import LAST, RunFolder

    folder = Path(model)
    return RunFolder(folder.parent if folder.name == LAST else folder)


def _recorded_name(model: str, recipe: Recipe | None) -> str:
    """Return the name of the language in a run's recipe; code that the recipe names does not run."""
    from hf_ruleextrap.languages import not_run, recorded_language

    if recipe is None:
        raise RuleExtrapError(f"{model} is not a run folder, so its language is not known: give --language")
    if recorded_language(recipe.language) is None:
        raise RuleExtrapError(not_run(one_line(recipe.language)))
    return recipe.language


def given_flags(arguments: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Return the flags that the user gave, as they are typed. The default of each flag is None or False."""
    values = vars(arguments)
    return [f"--{name.replace('_', '-')}" for name in names if values[name] is not None and values[name] is not False]


def given_values(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of the flags that the user gave, by name. The default of each flag is None."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def refuse_flags(arguments: argparse.Namespace, names: Iterable[str], what: str, advice: str = "") -> None:
    """Refuse flags that have no effect.

    Args:
        arguments: The arguments of the command.
        names: The names of the flags that do not apply.
        what: A phrase for the object to which the flags do not apply.
        advice: A phrase with another possible step besides leaving the flags out.

    Raises:
        RuleExtrapError: If the user gave one of the flags.
    """
    flags = given_flags(arguments, names)
    if flags:
        does, them = ("does", "it") if len(flags) == 1 else ("do", "them")
        raise RuleExtrapError(f"{', '.join(flags)} {does} not apply to {what}: leave {them} out{advice}")


def print_json(value: Any) -> None:
    """Print a dictionary, a list, or the items of an iterable as JSON."""
    print(json.dumps(value if isinstance(value, (dict, list)) else list(value), indent=2, ensure_ascii=False))


def print_lines(lines: Iterable[str]) -> None:
    """Print each line."""
    for line in lines:
        print(line)


def print_not_run(names: Iterable[str]) -> None:
    """Print a note for each language in a file that the user has not named; the note says how to run its code."""
    from hf_ruleextrap.languages import is_file, not_run, recorded_language

    for name in sorted(set(names)):
        if is_file(name) and recorded_language(name) is None:
            print(f"note: {not_run(one_line(name))}", file=sys.stderr)
