"""Our architectures in the Auto classes of transformers, as soon as those are asked for anything.

Importing the package must cost nothing, and the models need torch. So they are imported when ``AutoConfig`` is used for
the first time, through which every Auto class and ``pipeline`` finds out what a checkpoint is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_AUTO = "transformers.models.auto.configuration_auto"


def register_on_use() -> None:
    """Have ``AutoConfig`` import our models before it looks one up, whether transformers is imported yet or not."""
    if _AUTO in sys.modules:
        _prepare(sys.modules[_AUTO])
    else:
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Prepares the module of ``AutoConfig`` when it is imported, and is gone."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002  # the interface is Python's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != _AUTO:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            _prepare_after(spec.loader)
        return spec


def _prepare_after(loader: Loader) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _prepare(module)

    loader.exec_module = exec_module  # type: ignore[method-assign]


def _prepare(module: ModuleType) -> None:
    auto = module.AutoConfig
    for name in ("from_pretrained", "for_model"):
        setattr(auto, name, classmethod(_with_models(getattr(auto, name).__func__)))


def _with_models(method: Any) -> Any:
    @wraps(method)
    def prepared(*args: Any, **kwargs: Any) -> Any:
        from transformers import AutoTokenizer

        # Importing it registers them; a second time it costs nothing.
        from . import models
        from .symbol_tokenizer import SymbolTokenizer

        # A saved tokenizer names its class.
        AutoTokenizer.register(models.RuleConfig, SymbolTokenizer, exist_ok=True)
        return method(*args, **kwargs)

    return prepared
