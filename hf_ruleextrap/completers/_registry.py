"""Create text completers by name. A backend is imported when it is first used."""

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
    "vllm": "hf_ruleextrap.completers.vllm:VllmCompleter",
    "replay": "hf_ruleextrap.completers.replay:Replay",
}
"""The ``module:Class`` of each backend. A new backend needs one line here."""


def text_completer(name: str, backend: BackendConfig) -> TextCompleter:
    """Create a text completer.

    Args:
        name: One of `BACKENDS`, or ``file.py:Class`` or ``package.module:Class`` for a class of the user's own.
        backend: The settings of the completer.

    Raises:
        RuleExtrapError: If there is no backend of this name, or if the completer refuses its settings.
    """
    if name not in BACKENDS and ":" not in name:
        raise unknown("backend", name, BACKENDS, "Or give file.py:Class for your own.")
    place, _, attribute = BACKENDS.get(name, name).rpartition(":")
    completer = getattr(_module(place), attribute, None)
    if completer is None:
        raise RuleExtrapError(f"{place} has no {attribute!r}: give file.py:Class")
    if not isinstance(completer, type) or not hasattr(completer, "answers"):
        raise RuleExtrapError(
            f"{name} is not a text completer: give file.py:Class, a class with the methods of "
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
