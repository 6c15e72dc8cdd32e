"""Rule extrapolation in language models, native to the Hugging Face ecosystem.

The names below are loaded when they are first used, so importing the package loads neither torch nor transformers.
Import `hf_ruleextrap.models` to register the architectures of this package with transformers' Auto classes, or load a
checkpoint with `load_model`, which does so.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_ruleextrap.architectures import build_model, list_architectures
    from hf_ruleextrap.completers import LocalModel, load_model
    from hf_ruleextrap.data import build_splits
    from hf_ruleextrap.errors import RuleExtrapError
    from hf_ruleextrap.evaluation import Evaluation, Evaluator, chance, score
    from hf_ruleextrap.evaluation.mass import exact_mass
    from hf_ruleextrap.formal import Language, Rule
    from hf_ruleextrap.formal.generated import random_conjunction
    from hf_ruleextrap.languages import get_language, list_languages
    from hf_ruleextrap.tokenization import build_tokenizer
    from hf_ruleextrap.train.recipe import Recipe
    from hf_ruleextrap.train.results import Results
    from hf_ruleextrap.train.run import run_recipe

__version__ = "0.1.0"

__all__ = [
    "Evaluation",
    "Evaluator",
    "Language",
    "LocalModel",
    "Recipe",
    "Results",
    "Rule",
    "RuleExtrapError",
    "build_model",
    "build_splits",
    "build_tokenizer",
    "chance",
    "exact_mass",
    "get_language",
    "list_architectures",
    "list_languages",
    "load_model",
    "random_conjunction",
    "run_recipe",
    "score",
]

_HOMES = {
    "Evaluation": "evaluation",
    "Evaluator": "evaluation",
    "Language": "formal",
    "LocalModel": "completers",
    "Recipe": "train.recipe",
    "Results": "train.results",
    "Rule": "formal",
    "RuleExtrapError": "errors",
    "build_model": "architectures",
    "build_splits": "data",
    "build_tokenizer": "tokenization",
    "chance": "evaluation",
    "exact_mass": "evaluation.mass",
    "get_language": "languages",
    "list_architectures": "architectures",
    "list_languages": "languages",
    "load_model": "completers",
    "random_conjunction": "formal.generated",
    "run_recipe": "train.run",
    "score": "evaluation",
}


# OMP_NUM_THREADS sets the number of threads of torch. numba reads its own variable when it is imported, and its idle
# threads use processor time, so that both libraries follow the one setting.
_threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
if "numba" not in sys.modules and _threads.isdecimal() and int(_threads) > 0:
    os.environ.setdefault("NUMBA_NUM_THREADS", _threads)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
