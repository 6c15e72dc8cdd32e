"""The error for a mistake of the user, the phrases of its message, and the width of what the commands print."""

from __future__ import annotations

import difflib
import operator
import reprlib
import textwrap
import unicodedata
from collections.abc import Iterable


class RuleExtrapError(ValueError):
    """A mistake of the user. The text of the error is the whole message; the command line exits with code 2.

    >>> from hf_ruleextrap import get_language
    >>> get_language("annbn")
    Traceback (most recent call last):
    hf_ruleextrap.errors.RuleExtrapError: unknown language 'annbn': did you mean 'anbn' or 'abn'? ...
    """


def check_integer(name: str, value: object, least: int = 0) -> int:
    """Return a value that must be an integer of at least ``least``.

    Raises:
        RuleExtrapError: If the value is no integer, or smaller.

    >>> check_integer("n", -1)
    Traceback (most recent call last):
    hf_ruleextrap.errors.RuleExtrapError: n is -1: give 0 or more
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # a value without an index raises the TypeError
    except TypeError:
        raise RuleExtrapError(f"{name} is {described(value)}: give an integer") from None
    except Exception as error:
        raise RuleExtrapError(f"{name} is {described(value)}, which cannot be read: give an integer") from error
    if isinstance(value, bool) or number < least:
        raise RuleExtrapError(f"{name} is {described(number)}: give {least} or more")
    return number


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, and perhaps a verb, which are in the plural unless the number is 1.

    >>> counted(1, "run"), counted(0, "run"), counted(12_000, "word"), counted(2, "run has"), counted(1, "run has")
    ('1 run', '0 runs', '12,000 words', '2 runs have', '1 run has')
    >>> counted(2, "repository"), counted(2, "learned run")
    ('2 repositories', '2 learned runs')
    """
    if number != 1:
        subject, _, verb = noun.rpartition(" ") if noun.rpartition(" ")[2] in _PLURAL_VERBS else (noun, "", "")
        subject = f"{subject[:-1]}ies" if subject.endswith("ry") else f"{subject}s"
        noun = f"{subject} {_PLURAL_VERBS[verb]}" if verb else subject
    return f"{number:,} {noun}"


_PLURAL_VERBS = {"has": "have", "is": "are"}


WIDTH = 80
"""The largest number of columns of a table that a command prints."""


def folded(line: str, indent: int = 0) -> str:
    """Return a line in parts of at most `WIDTH` columns; a longer word, such as a path, stays whole.

    Args:
        line: The line.
        indent: The number of spaces before each part but the first.
    """
    parts = textwrap.wrap(line, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts)


def one_line(text: str) -> str:
    r"""Return a text from a file as one line, without line breaks and without characters that control a terminal.

    >>> one_line("two\nlines \x1b[31mred")
    'two lines [31mred'
    """
    visible = (" " if sign.isspace() else sign for sign in text)
    return " ".join("".join(sign for sign in visible if unicodedata.category(sign) not in _UNSEEN).split())


def described(value: object) -> str:
    r"""Return the beginning of a value's text as one line, for an error message.

    >>> described("two\nlines"), described([1.5] * 1000)
    ("'two\\nlines'", '[1.5, 1.5, 1.5, 1.5, 1.5, 1.5, ...]')
    """
    text = one_line(_SHORT.repr(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


_LONGEST = 60
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 2 * _LONGEST

# Control characters, formats (such as the reversal of the writing direction), and lone surrogates.
_UNSEEN = ("Cc", "Cf", "Cs")


def unknown(what: str, name: object, allowed: Iterable[str], hint: str = "") -> RuleExtrapError:
    """Return the error for an unknown name. Its message suggests the nearest known names.

    Args:
        what: The kind of name, such as ``"language"``.
        name: The unknown name.
        allowed: The known names.
        hint: The next step for the user, which ends the message as a sentence.

    >>> print(unknown("language", "anbm", ["ban", "anbn"]))
    unknown language 'anbm': did you mean 'anbn' or 'ban'? known: anbn, ban
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(str(name), names, n=2, cutoff=0.5)
    guess = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    text = f"unknown {what} {described(name)}: {guess}known: {', '.join(names)}"
    return RuleExtrapError(f"{text}. {hint}" if hint else text)
