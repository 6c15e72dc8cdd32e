"""Completers: whoever continues a prompt."""

from __future__ import annotations

from .base import Completer, Completions
from .local import LocalModel
from .reference import FromSource, Oracle

__all__ = ["Completer", "Completions", "FromSource", "LocalModel", "Oracle"]
