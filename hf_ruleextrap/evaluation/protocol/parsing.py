"""What a model answered, as symbols; strictly, with a status for every answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from .settings import ProtocolSettings

Status = Literal["ok", "empty", "unfinished", "unparsable"]
"""``ok``: ended, and every token is a symbol; ``empty``: ended without any symbol; ``unfinished``: did not end within
the limit; ``unparsable``: holds a token that is no symbol."""

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

    The text is cut at the end of its first line. A chat answer may stand between fences or quotes. What is left is
    split at spaces, and each piece must be a symbol: there is no half credit. To a plain text the answer must begin
    with a space, a line break, or be empty, since otherwise it changes the prompt's last symbol.

    Args:
        settings: the condition.
        text: the answer alone, without the prompt.
        ended: the model stopped by itself, not at the limit.
    """
    line, closed = _unwrapped(text) if settings.chat else _first_line(text)
    ended = ended or closed
    symbol_of = {shown: symbol for symbol, shown in settings.texts.items()}
    pieces = line.split()
    # The limit may cut a symbol in two; the answer is unfinished all the same.
    if not ended and pieces and _is_part(pieces[-1], symbol_of):
        pieces.pop()
    if (line and not settings.chat and not line[0].isspace()) or any(piece not in symbol_of for piece in pieces):
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
    text, closed = text.lstrip(), False
    if text.startswith(_FENCE):
        opening, _, inside = text.partition("\n")
        # All on one line, or a fence with perhaps the name of a language behind it.
        text = opening.removeprefix(_FENCE) if _FENCE in opening.removeprefix(_FENCE) else inside
        text, fence, _ = text.partition(_FENCE)
        text, closed = text.strip(), bool(fence)
    line, more = _first_line(text)
    line = line.strip()
    for opening, closing in _QUOTES.items():
        if len(line) > 1 and line[0] == opening and line[-1] == closing:
            return line[1:-1].strip(), True
    return line, closed or more
