"""Turn exceptions into exit codes: a mistake is one line and exit code 2, and only a bug shows a traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.inputs import FILE_MODULE, shown

ISSUES = "https://github.com/hf-ruleextrap/hf-ruleextrap/issues"
"""The address for reports of bugs."""


def run_command(work: Callable[[], int | None]) -> int:
    """Run the work of a command and return its exit code.

    A mistake of the user prints one line on stderr and returns 2, and so does a refusal of the machine (a path, a
    permission, disk space, memory). An interrupt returns 130. Any other exception is a bug: the function prints the
    traceback and the address for reports, and returns 1.
    """
    try:
        return work() or 0
    except KeyboardInterrupt as interrupt:
        message = str(interrupt) or "interrupted; the same command resumes from the latest checkpoint"
        print(f"\n{message}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The program that reads the output has closed the pipe.
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
    """Return the line for an exception that a user or the machine can cause, or None for a bug."""
    if isinstance(error, RuleExtrapError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        detail = f" ({error})" if str(error) else ""
        return f"this machine has too little memory{detail}: choose smaller numbers"
    if isinstance(error, OSError):
        path = f"cannot use {shown(error.filename)}: " if error.filename else ""
        return f"{path}{error.strerror or error}; choose another path, or check permissions and free space"
    user_frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_user_file(frame)]
    if user_frames:
        # The last frame either raises the exception or calls a library with a wrong value.
        raised = f"{type(error).__name__}: {' '.join(str(error).split())}"
        location = f"{user_frames[-1].filename}, line {user_frames[-1].lineno}"
        return f"{location}, raises {raised}; correct that line (hf-ruleextrap check helps)"
    return None


def _is_user_file(frame: traceback.FrameSummary) -> bool:
    """Return whether a frame is in a file that the user named as FILE.py:CLASS."""
    modules = (module for name, module in list(sys.modules.items()) if name.startswith(FILE_MODULE))
    return any(getattr(module, "__file__", None) == frame.filename for module in modules)


def check_words(words: Sequence[str]) -> None:
    """Refuse arguments that are not text.

    Raises:
        RuleExtrapError: If an argument contains a NUL character, or bytes that are not UTF-8.
    """
    for word in words:
        if "\0" in word:
            raise RuleExtrapError(f"the argument {shown(word)} contains a NUL character: remove the character")
        if not word.isprintable() and any("\ud800" <= character <= "\udfff" for character in word):
            raise RuleExtrapError(f"the argument {shown(word)} is not UTF-8: write the argument in UTF-8")
