"""The languages, one file each; a file in this folder is found by being there."""

from __future__ import annotations

import importlib
import pkgutil

from hf_ruleextrap.errors import unknown
from hf_ruleextrap.formal.generated import PREFIX, generated_language
from hf_ruleextrap.formal.language import Language


def list_languages() -> list[str]:
    """The names of all languages, sorted.

    >>> "anbn" in list_languages()
    True
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get_language(name: str | Language, *, paper: bool = False) -> Language:
    """The language of a name.

    Args:
        name: one of `list_languages`, or that of a generated language, e.g. ``"random-regular-7"``; a Language is
            returned as it is.
        paper: follow the authors' released code where it differs (see `Language.paper`).

    Raises:
        RuleExtrapError: unknown name; the message gives the nearest ones.

    >>> get_language("anbn").alphabet
    ('a', 'b')
    """
    if isinstance(name, Language):
        return name
    if name.startswith(PREFIX):
        return generated_language(name, paper)
    if name not in list_languages():
        raise unknown("language", name, list_languages())
    module = importlib.import_module(f"{__name__}.{name}")
    classes = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Language) and c.__module__ == module.__name__
    ]
    (language,) = classes
    return language(paper=paper)
