"""A cache on disk for values that depend on a language, its words and its prompts, and on no model."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from .errors import RuleExtrapError
from .files import write_text
from .formal import Language, PromptSet, WordBatch

T = TypeVar("T")

_CODE = ("formal", "languages", "data.py", "evaluation/rational_references.py", "evaluation/references.py")
"""The modules of this package whose code decides the cached values."""


def cached(kind: str, key: Mapping[str, Any], schema: Any, compute: Callable[[], T]) -> T:
    """Return a value from the cache, or compute it and store it there.

    The file is ``HF_HOME/hf-ruleextrap/KIND/DIGEST.json``, where the digest is that of the key and of the code that
    decides the value. A file that is torn or has other contents is computed again, and a folder that cannot be written
    only costs the time of the next computation.

    Args:
        kind: The name of the folder.
        key: Everything on which the value depends, as JSON; see `language_key` and `digest`.
        schema: The type of the value, which pydantic writes and validates.
        compute: Computes the value.
    """
    text = json.dumps({"code": _code_digest(), **key}, sort_keys=True)
    path = cache_folder() / kind / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    adapter: TypeAdapter[T] = TypeAdapter(schema)
    with suppress(OSError, ValidationError):
        return adapter.validate_json(path.read_bytes())
    value = compute()
    with suppress(OSError, RuleExtrapError):
        write_text(path, adapter.dump_json(value).decode())
    return value


def cache_folder() -> Path:
    """Return the folder of the cache, beside the caches of the Hugging Face libraries."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(os.environ.get("HF_HOME", default)).expanduser() / "hf-ruleextrap"


def language_key(language: Language) -> dict[str, Any]:
    """Return what identifies a language: its name, its rules, and the code of the file that defines its class."""
    source = None
    with suppress(TypeError, OSError):
        source = _file_digest(Path(inspect.getfile(type(language))))
    return {
        "language": language.name,
        "paper": language.paper,
        "alphabet": language.alphabet,
        "rules": [[rule.name, rule.summary, list(map(str, rule.expression))] for rule in language.rules],
        "source": source,
    }


def digest(words: WordBatch | PromptSet | Iterable[str]) -> str:
    """Return a digest of words or prompts in their order."""
    texts = words.texts if isinstance(words, PromptSet) else words
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


@cache
def _code_digest() -> str:
    here = Path(__file__).parent
    files = [path for name in _CODE for path in sorted((here / name).glob("*.py")) or [here / name]]
    return hashlib.sha256("".join(map(_file_digest, files)).encode()).hexdigest()


@cache
def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
