"""The boundary of the command line: a mistake is one line and exit code 2, and only a bug shows a traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.inputs import FILE_MODULE, shown

ISSUES = "https://github.com/hf-ruleextrap/hf-ruleextrap/issues"
"""Where a bug is reported."""


def run_command(work: Callable[[], int | None]) -> int:
    """Do the work of a command and return the exit code.

    A mistake of the user is one line on stderr and the exit code 2; so is everything that the machine refuses (paths,
    permissions, space, memory). An interrupt gives 130. Any other exception is a bug: it shows its traceback and where
    to report it, and gives 1.
    """
    try:
        return work() or 0
    except KeyboardInterrupt as interrupt:
        message = str(interrupt) or "interrupted; the same command goes on from the latest checkpoint"
        print(f"\n{message}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has closed the pipe.
        sys.stderr.close()
        return 0
    except Exception as error:
        line = line_of(error)
        if line is not None:
            print(f"error: {line}", file=sys.stderr)
            return 2
        traceback.print_exc()
        print(f"error: this is a bug in hf-ruleextrap: report it with these lines at {ISSUES}", file=sys.stderr)
        return 1


def line_of(error: BaseException) -> str | None:
    """Return the line for an exception that a user or the machine can cause; None for a bug."""
    if isinstance(error, RuleExtrapError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        detail = f" ({error})" if str(error) else ""
        return f"the memory of this machine does not suffice{detail}: give smaller numbers"
    if isinstance(error, OSError):
        path = f"cannot use {shown(error.filename)}: " if error.filename else ""
        return f"{path}{error.strerror or error}; give another path, or check permissions and free space"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame)]
    if own:
        # The last of these lines is the one that raises, or that calls into a library with a wrong value.
        raised = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return f"{own[-1].filename}, line {own[-1].lineno}, raises {raised}; correct it (hf-ruleextrap check helps)"
    return None


def _is_own(frame: traceback.FrameSummary) -> bool:
    """Whether a line is in a file that the user gave as FILE.py:CLASS."""
    modules = (module for name, module in list(sys.modules.items()) if name.startswith(FILE_MODULE))
    return any(getattr(module, "__file__", None) == frame.filename for module in modules)


def check_words(words: Sequence[str]) -> None:
    """Refuse arguments that no file system and no terminal can carry.

    Raises:
        RuleExtrapError: a NUL character, or a character that is no text.
    """
    for word in words:
        if "\0" in word:
            raise RuleExtrapError(f"the argument {shown(word)} holds a NUL character: remove it")
        if not word.isprintable() and any("\ud800" <= character <= "\udfff" for character in word):
            raise RuleExtrapError(f"the argument {shown(word)} is not UTF-8: give text")
