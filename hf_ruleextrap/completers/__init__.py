"""Completers: whoever continues a prompt."""

from __future__ import annotations

from .base import Completer, Completions
from .local import LocalModel
from .uniform import Uniform

__all__ = ["Completer", "Completions", "LocalModel", "Uniform"]
