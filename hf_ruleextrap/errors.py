"""A user's mistake is one clear line: what is wrong, what is allowed or nearest, what to do."""

from __future__ import annotations

import difflib
import operator
import reprlib
import unicodedata
from collections.abc import Iterable


class RuleExtrapError(ValueError):
    """The error for a mistake of the user, whose text is the whole message; the command line then exits with 2.

    >>> from hf_ruleextrap import get_language
    >>> get_language("annbn")
    Traceback (most recent call last):
    hf_ruleextrap.errors.RuleExtrapError: unknown language 'annbn': did you mean 'anbn' or 'abn'? ...
    """


def check_integer(name: str, value: object, least: int = 0) -> int:
    """Return a value that must be an integer of at least ``least``.

    Raises:
        RuleExtrapError: the value is no integer, or smaller.

    >>> check_integer("n", -1)
    Traceback (most recent call last):
    hf_ruleextrap.errors.RuleExtrapError: n is -1: give 0 or more
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what has no index raises the TypeError
    except TypeError:
        raise RuleExtrapError(f"{name} is {described(value)}: give an integer") from None
    except Exception as error:
        raise RuleExtrapError(f"{name} is {described(value)}, which cannot be read: give an integer") from error
    if isinstance(value, bool) or number < least:
        raise RuleExtrapError(f"{name} is {described(number)}: give {least} or more")
    return number


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which is in the plural unless the number is 1.

    >>> counted(1, "run"), counted(0, "run"), counted(12_000, "word"), counted(2, "run has"), counted(1, "run has")
    ('1 run', '0 runs', '12,000 words', '2 runs have', '1 run has')
    >>> counted(2, "repository")
    '2 repositories'
    """
    if number != 1:
        subject, space, verb = noun.partition(" ")
        subject = f"{subject[:-1]}ies" if subject.endswith("ry") else f"{subject}s"
        noun = f"{subject}{space}{_PLURAL_VERBS.get(verb, verb)}"
    return f"{number:,} {noun}"


_PLURAL_VERBS = {"has": "have", "is": "are"}


def one_line(text: str) -> str:
    r"""A text from a file as one line: without line breaks, and without characters that control a terminal or a page.

    >>> one_line("two\nlines \x1b[31mred")
    'two lines [31mred'
    """
    visible = (" " if sign.isspace() else sign for sign in text)
    return " ".join("".join(sign for sign in visible if unicodedata.category(sign) not in _UNSEEN).split())


def described(value: object) -> str:
    r"""The beginning of any value as one line; a value that cannot be shown, by its type.

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
    """The error for a name that is not one of the allowed ones, with the nearest of them.

    Args:
        what: what kind of name it is, e.g. ``"language"``.
        name: the name that was given.
        allowed: the names that exist.
        hint: what to do next, appended as a sentence.

    Returns:
        The error, to be raised by the caller.

    >>> print(unknown("language", "anbm", ["ban", "anbn"]))
    unknown language 'anbm': did you mean 'anbn' or 'ban'? known: anbn, ban
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(str(name), names, n=2, cutoff=0.5)
    guess = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    text = f"unknown {what} {described(name)}: {guess}known: {', '.join(names)}"
    return RuleExtrapError(f"{text}. {hint}" if hint else text)
