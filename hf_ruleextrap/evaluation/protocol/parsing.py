"""The answer of a model as symbols: read strictly, with a status for every answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from hf_ruleextrap.completers.thoughts import split_thoughts

from .settings import ProtocolSettings

Status = Literal["ok", "empty", "unfinished", "unfinished: reasoning", "unparsable"]
"""``ok``: ended, and every token is a symbol; ``empty``: ended without any symbol; ``unfinished``: did not end within
the limit; ``unfinished: reasoning``: used up the limit by thinking; ``unparsable``: holds a token that is no symbol."""

STATUSES: tuple[str, ...] = get_args(Status)
"""The statuses of answers that have arrived; every other status is a fault."""

# What may stand around a chat answer.
_BLANK = " \n"
_FENCE = "```"
_QUOTES = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb"}


@dataclass(frozen=True)
class Parsed:
    """An answer.

    Attributes:
        symbols: in the language's own symbols; empty where it is unparsable.
        status: see `Status`.
    """

    symbols: str
    status: Status

    @property
    def finished(self) -> bool:
        """It ended by itself, and can be read."""
        return self.status in ("ok", "empty")


def parse(settings: ProtocolSettings, text: str, *, ended: bool) -> Parsed:
    """Read an answer.

    The text is cut at the end of its first line, which a line feed ends. In a chat answer, what the model thinks before
    it answers is left out, and the answer may stand between blanks, fences or quotes. The symbols must then have one
    space between them: there is no half credit, and neither a tab nor a second space is a separator. To a plain text
    the answer must begin with a space or a line break, or be empty, since it changes the prompt's last symbol else.

    Args:
        settings: the condition.
        text: the answer alone, without the prompt.
        ended: the model stopped by itself, not at the limit.
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
    # Behind the prompt each symbol comes with the space before it.
    pieces = [] if not line else line.split(" ") if settings.chat else line[1:].split(" ")
    # The limit may cut a symbol in two, or stand before it; the answer is unfinished all the same.
    if not ended and pieces and _is_part(pieces[-1], symbol_of):
        pieces.pop()
    if any(piece not in symbol_of for piece in pieces):
        return Parsed("", "unparsable")
    symbols = "".join(symbol_of[piece] for piece in pieces)
    if not ended or len(symbols) > settings.max_new_symbols:
        return Parsed(symbols[: settings.max_new_symbols], "unfinished")
    return Parsed(symbols, "ok" if symbols else "empty")


def _is_part(piece: str, texts: Collection[str]) -> bool:
    return piece not in texts and any(text.startswith(piece) for text in texts)


def _first_line(text: str) -> tuple[str, bool]:
    """The text up to its first line break, and whether there is one."""
    line, ending, _ = text.partition("\n")
    return line, bool(ending)


def _unwrapped(text: str) -> tuple[str, bool]:
    """The first line of a chat answer without fences and quotes, and whether it is seen to end."""
    text, closed = text.lstrip(_BLANK), False
    if text.startswith(_FENCE):
        opening, _, inside = text.partition("\n")
        # All on one line, or a fence with perhaps the name of a language behind it.
        text = opening.removeprefix(_FENCE) if _FENCE in opening.removeprefix(_FENCE) else inside
        text, fence, _ = text.partition(_FENCE)
        text, closed = text.strip(_BLANK), bool(fence)
    line, more = _first_line(text)
    line = line.strip(_BLANK)
    for opening, closing in _QUOTES.items():
        if len(line) > 1 and line[0] == opening and line[-1] == closing:
            return line[1:-1].strip(_BLANK), True
    return line, closed or more
