"""Text completers by name, each loaded when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import cast

from hf_ruleextrap.errors import RuleExtrapError, unknown
from hf_ruleextrap.own_files import run_file

from .base import BackendConfig, TextCompleter

BACKENDS: Mapping[str, str] = {
    "hf": "hf_ruleextrap.completers.hf:HfCompleter",
    "openai": "hf_ruleextrap.completers.openai:OpenAICompleter",
    "replay": "hf_ruleextrap.completers.replay:Replay",
}
"""Name to ``module:Class``; a line here is all that another one needs."""


def text_completer(name: str, backend: BackendConfig) -> TextCompleter:
    """Make a text completer.

    Args:
        name: one of `BACKENDS`; or ``file.py:Class`` or ``package.module:Class`` for one's own.
        backend: what it is told.

    Raises:
        RuleExtrapError: there is none of this name; or what the completer itself cannot do.
    """
    if name not in BACKENDS and ":" not in name:
        raise unknown("backend", name, BACKENDS, "Or give file.py:Class for your own.")
    place, _, attribute = BACKENDS.get(name, name).rpartition(":")
    completer = getattr(_module(place), attribute, None)
    if completer is None:
        raise RuleExtrapError(f"{place} has no {attribute!r}: give file.py:Class")
    if not isinstance(completer, type) or not hasattr(completer, "answers"):
        raise RuleExtrapError(
            f"{name} is no text completer: give file.py:Class, a class with the methods of "
            "hf_ruleextrap.completers.TextCompleter"
        )
    return cast("Callable[[BackendConfig], TextCompleter]", completer)(backend)


def _module(place: str) -> object:
    if place.endswith(".py"):
        return run_file(place)
    try:
        return importlib.import_module(place)
    except (ImportError, ValueError) as error:
        raise RuleExtrapError(
            f"cannot import {place!r}: {error}; give package.module:Class, or file.py:Class"
        ) from None
