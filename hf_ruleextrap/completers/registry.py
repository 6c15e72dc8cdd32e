"""Text completers by name, each loaded when it is first asked for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from hf_ruleextrap.errors import RuleExtrapError, unknown

from .base import Backend, TextCompleter

BACKENDS: Mapping[str, str] = {
    "hf": "hf_ruleextrap.completers.hf:HfCompleter",
    "openai": "hf_ruleextrap.completers.openai:OpenAICompleter",
    "replay": "hf_ruleextrap.completers.replay:Replay",
}
"""Name to ``module:Class``; a line here is all that another one needs."""


def text_completer(name: str, backend: Backend) -> TextCompleter:
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
    made = getattr(_module(place), attribute, None)
    if made is None:
        raise RuleExtrapError(f"{place} has no {attribute!r}: give file.py:Class")
    return cast("Callable[[Backend], TextCompleter]", made)(backend)


def _module(place: str) -> object:
    if not place.endswith(".py"):
        try:
            return importlib.import_module(place)
        except ImportError as error:
            raise RuleExtrapError(f"cannot import {place!r}: {error}") from None
    path = Path(place)
    if not path.exists():
        raise RuleExtrapError(f"there is no file {place!r}: give file.py:Class")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name.
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module
