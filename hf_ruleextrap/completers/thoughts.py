"""Separate the reasoning of a model from its answer."""

from __future__ import annotations

import re
from typing import NamedTuple

_NAMES = "(?:seed:)?(?:think|thinking|thought|reasoning)"
# The marks of models whose server, or whose chat template, leaves the reasoning in the text.
_BEGIN = rf"<{_NAMES}>|\[THINK\]|◁think▷|<\|channel\|>analysis<\|message\|>"
_BEGINS = re.compile(rf"\s*(?:{_BEGIN})")
_LEFT_OPEN = re.compile(rf"(?:{_BEGIN})\s*\Z")
_END = rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<\|channel\|>final<\|message\|>"
_ENDS = re.compile(_END)
_MARKS = re.compile(f"{_BEGIN}|{_END}")


class Split(NamedTuple):
    """A text in two parts.

    Attributes:
        thoughts: The reasoning, without its marks; empty without reasoning.
        answer: The text after the reasoning.
        open: Whether the text stops before the reasoning ends.
    """

    thoughts: str
    answer: str
    open: bool


def split_thoughts(text: str) -> Split:
    """Split a text after its last mark that ends a piece of reasoning.

    >>> split_thoughts("<think>There are two a.</think> b b")
    Split(thoughts='There are two a.', answer=' b b', open=False)
    >>> split_thoughts("<think>There are").open
    True
    """
    *_, end = [0, *(mark.end() for mark in _ENDS.finditer(text))]
    if _BEGINS.match(text, end):
        return Split(_MARKS.sub("", text), "", open=True)
    return Split(_MARKS.sub("", text[:end]), text[end:], open=False)


def opened_thought(prompt: str) -> str:
    """Return the mark at the end of a prompt that begins the model's reasoning, or an empty text."""
    mark = _LEFT_OPEN.search(prompt)
    return mark[0] if mark else ""
