"""Completers: whoever continues a prompt, or any text."""

from __future__ import annotations

from .base import Abilities, Answer, BackendConfig, Completer, Completions, Request, TextCompleter, Turn
from .loading import load_model
from .local import LocalModel
from .positions import check_positions, most_tokens
from .reference import FromSource, Oracle
from .registry import BACKENDS, text_completer

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
