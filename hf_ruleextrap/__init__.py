"""Rule extrapolation in language models, native to the Hugging Face ecosystem.

The names below are loaded when they are first used, so that importing the package costs nothing. It makes transformers'
Auto classes and ``pipeline`` know the architectures here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .registration import register_on_use

if TYPE_CHECKING:
    from hf_ruleextrap.architectures import build_model, list_architectures
    from hf_ruleextrap.errors import RuleExtrapError
    from hf_ruleextrap.evaluation import chance, score
    from hf_ruleextrap.evaluation.mass import exact_mass
    from hf_ruleextrap.formal.generated import random_conjunction
    from hf_ruleextrap.languages import get_language, list_languages

__version__ = "0.1.0"

_HOMES = {
    "build_model": "architectures",
    "list_architectures": "architectures",
    "RuleExtrapError": "errors",
    "chance": "evaluation",
    "exact_mass": "evaluation.mass",
    "random_conjunction": "formal.generated",
    "score": "evaluation",
    "get_language": "languages",
    "list_languages": "languages",
}

__all__ = [
    "RuleExtrapError",
    "build_model",
    "chance",
    "exact_mass",
    "get_language",
    "list_architectures",
    "list_languages",
    "random_conjunction",
    "score",
]


register_on_use()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
