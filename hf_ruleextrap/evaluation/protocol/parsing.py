"""Read the answer of a model as symbols, strictly, with a status for every answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from hf_ruleextrap.completers.base import Answer
from hf_ruleextrap.completers.reading import split_thoughts
from hf_ruleextrap.formal.words import FOREIGN_CODE

from .settings import ProtocolSettings

Status = Literal["ok", "empty", "unfinished", "unfinished: reasoning", "unparsable"]
"""The status of an answer.

``ok``: The answer ended and contains only symbols. ``empty``: The answer ended without any symbol. ``unfinished``: The
answer did not end within the limit. ``unfinished: reasoning``: The limit was reached before the answer began.
``unparsable``: The answer contains a text that is no symbol.
"""

STATUSES: tuple[str, ...] = get_args(Status)
"""The statuses of answers. Every other status is a fault, which means that there is no answer."""

# The characters that may stand around a chat answer.
_BLANK = " \n"
_FENCE = "```"
_QUOTES = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb"}


@dataclass(frozen=True)
class Parsed:
    """An answer that was read.

    Attributes:
        symbols: The symbols of the language; empty for an unparsable answer.
        status: The status; see `Status`.
    """

    symbols: str
    status: Status

    @property
    def finished(self) -> bool:
        """Whether the model ended the answer itself, and the answer contains only symbols."""
        return self.status in ("ok", "empty")


def parse(settings: ProtocolSettings, text: str, *, ended: bool) -> Parsed:
    """Read the text of an answer.

    The answer ends at its first line feed. A chat answer is read without the reasoning before it, and without the
    blanks, fences or quotes around it. The symbols must have one space between them; a tab or a second space makes the
    answer unparsable, and there is no partial credit. An answer to a plain text must be empty or begin with a space or
    a line feed, because any other beginning would change the last symbol of the prompt.

    Args:
        settings: The condition.
        text: The answer without the prompt.
        ended: Whether the model stopped by itself, not at the limit.
    """
    if settings.chat:
        _, text, thinking = split_thoughts(text)
        if thinking:
            return Parsed("", "unparsable" if ended else "unfinished: reasoning")
    line, closed = _unwrapped(text) if settings.chat else _first_line(text)
    ended = ended or closed
    symbol_of = {shown: symbol for symbol, shown in settings.texts.items()}
    if line and not settings.chat and not line.startswith(" "):
        return Parsed("", "unparsable")
    # After the prompt, each symbol has a space before it.
    pieces = [] if not line else line.split(" ") if settings.chat else line[1:].split(" ")
    # The limit may cut a symbol in two, or fall between the space and the symbol. The answer is unfinished then.
    if not ended and pieces and _is_part(pieces[-1], symbol_of):
        pieces.pop()
    if any(piece not in symbol_of for piece in pieces):
        return Parsed("", "unparsable")
    symbols = "".join(symbol_of[piece] for piece in pieces)
    if not ended or len(symbols) > settings.max_new_symbols:
        return Parsed(symbols[: settings.max_new_symbols], "unfinished")
    return Parsed(symbols, "ok" if symbols else "empty")


def read_answer(settings: ProtocolSettings, answer: Answer) -> tuple[str, bool, str]:
    """Return the symbols of an answer, whether the answer ended, and the status.

    An answer that is a fault or unparsable is a symbol that no language has.
    """
    if answer.fault:
        return chr(FOREIGN_CODE), False, answer.fault
    parsed = parse(settings, answer.text, ended=answer.ended)
    symbols = chr(FOREIGN_CODE) if parsed.status == "unparsable" else parsed.symbols
    return symbols, parsed.finished, "unfinished: reasoning" if answer.thought else parsed.status


def _is_part(piece: str, texts: Collection[str]) -> bool:
    return piece not in texts and any(text.startswith(piece) for text in texts)


def _first_line(text: str) -> tuple[str, bool]:
    """Return the text up to its first line feed, and whether there is one."""
    line, ending, _ = text.partition("\n")
    return line, bool(ending)


def _unwrapped(text: str) -> tuple[str, bool]:
    """Return the first line of a chat answer without fences and quotes, and whether the text shows that it ended."""
    text, closed = text.lstrip(_BLANK), False
    if text.startswith(_FENCE):
        opening, _, inside = text.partition("\n")
        # The answer is on the line of the fence, or that line holds at most the name of a language.
        text = opening.removeprefix(_FENCE) if _FENCE in opening.removeprefix(_FENCE) else inside
        text, fence, _ = text.partition(_FENCE)
        text, closed = text.strip(_BLANK), bool(fence)
    line, more = _first_line(text)
    line = line.strip(_BLANK)
    for opening, closing in _QUOTES.items():
        if len(line) > 1 and line[0] == opening and line[-1] == closing:
            return line[1:-1].strip(_BLANK), True
    return line, closed or more
