"""Completers: models, servers and references that continue a prompt or a text."""

from __future__ import annotations

import warnings
from typing import Any

from ._local import FromSource, LocalModel, Oracle
from .base import (
    BACKENDS,
    Abilities,
    Answer,
    BackendConfig,
    Completer,
    Completions,
    Request,
    TextCompleter,
    Turn,
    text_completer,
)
from .generation import check_positions, most_tokens
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


def __getattr__(name: str) -> Any:
    """Return `BackendConfig` under its former name, with a warning."""
    if name != "Backend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("completers.Backend is called completers.BackendConfig now", DeprecationWarning, stacklevel=2)
    return BackendConfig
