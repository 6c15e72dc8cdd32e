"""Completers: whoever continues a prompt, or any text."""

from __future__ import annotations

from ._local import LocalModel
from ._positions import check_positions, most_tokens
from ._reference import FromSource, Oracle
from ._registry import BACKENDS, text_completer
from .base import Abilities, Answer, BackendConfig, Completer, Completions, Request, TextCompleter, Turn
from .loading import load_model

__all__ = [
    "BACKENDS",
    "Abilities",
    "Answer",
    "BackendConfig",
    "Completer",
    "Completions",
    "FromSource",
    "LocalModel",
    "Oracle",
    "Request",
    "TextCompleter",
    "Turn",
    "check_positions",
    "load_model",
    "most_tokens",
    "text_completer",
]
