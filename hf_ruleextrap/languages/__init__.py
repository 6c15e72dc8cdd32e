"""The languages, one file each. Every file in this folder is a language, and other packages can register more."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from hf_ruleextrap.errors import RuleExtrapError, described, unknown
from hf_ruleextrap.formal import LEVELS, Language
from hf_ruleextrap.formal.generated import PREFIX, generated_language
from hf_ruleextrap.inputs import run_file

GROUP = "hf_ruleextrap.languages"
"""The entry point group in which another package registers languages, as a name and ``module:Class``."""


def built_in_languages() -> list[str]:
    """Return the names of the languages that come with this package, sorted.

    >>> len(built_in_languages())
    34
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def list_languages(*, level: str | None = None, tag: str | None = None) -> list[str]:
    """Return the names of all languages, sorted: the built-in ones, and those of installed packages.

    Args:
        level: One of `LEVELS`, to which the list is restricted.
        tag: A tag to which the list is restricted; ``"paper"`` gives the six languages of the paper.

    Raises:
        RuleExtrapError: If the level or the tag is unknown.

    >>> list_languages(tag="paper")
    ['anbn', 'anbncn', 'ban', 'bban', 'csdyck', 'dyck']
    >>> list_languages(level="deterministic context-free", tag="copying")
    ['markedreversal']
    """
    names = sorted({*built_in_languages(), *installed_languages()})
    if level is None and tag is None:
        return names
    if level is not None and level not in LEVELS:
        raise unknown("level", level, LEVELS)
    classes = {name: _class_of(name) for name in names}
    tags = {each_tag for language in classes.values() for each_tag in language.tags}
    if tag is not None and tag not in tags:
        raise unknown("tag", tag, tags)
    return [
        name
        for name, language in classes.items()
        if (level is None or language.level == level) and (tag is None or tag in language.tags)
    ]


def get_language(name: str | Language, *, paper: bool = False) -> Language:
    """Return the language of a name.

    Args:
        name: One of `list_languages`; or the name of a generated language, e.g. ``"random-regular-7"``; or a class in a
            file of your own, ``"my_language.py:MyLanguage"``. A Language is returned unchanged.
        paper: Whether to follow the authors' released code where it differs (see `Language.paper`).

    Raises:
        RuleExtrapError: If the name is unknown (the message gives the nearest names), if the file or the class does not
            exist, or if the class is not a Language.

    >>> get_language("anbn").alphabet
    ('a', 'b')
    """
    if isinstance(name, Language):
        return name
    if not isinstance(name, str):
        raise RuleExtrapError(f"the language is {type(name).__name__} {described(name)}: give a name, or a Language")
    if name.startswith(PREFIX):
        return generated_language(name, paper)
    language_class = _class_of(name)
    try:
        return language_class(paper=paper)
    except RuleExtrapError as error:
        raise RuleExtrapError(f"{name}: {error}") from None


def recorded_language(name: str, *, paper: bool = False) -> Language | None:
    """Return the language that a results file, a recipe or another file names.

    A name in a file never runs code. A class in a file, ``FILE.py:CLASS``, is returned only if `get_language` has
    already loaded a class of that name from a file of that name in this process.

    Args:
        name: The name as the file records it.
        paper: As in `get_language`.

    Returns:
        The language; None if the name is unknown, or names code that the user has not allowed to run.

    >>> recorded_language("anbn").name, recorded_language("strangers.py:TheirLanguage")
    ('anbn', None)
    """
    try:
        if not is_file(name):
            return get_language(name, paper=paper)
        loaded = LOADED_CLASSES.get(_place(name)) or next(
            (own for place, own in LOADED_CLASSES.items() if _alike(place, name)), None
        )
        return None if loaded is None else loaded(paper=paper)
    except RuleExtrapError:
        return None


def not_run(name: str) -> str:
    """Return the sentence that says why the code of ``FILE.py:CLASS``, which a file names, has not run."""
    return f"{name} is a class in a file, and its code has not run: give --language {name} to run it."


def loaded_language(name: str, *, paper: bool = False) -> Language:
    """Return the language of a name that may come from a file; no code runs.

    Raises:
        RuleExtrapError: If the name is unknown, or names a class in a file that `get_language` has not loaded.
    """
    if (language := recorded_language(name, paper=paper)) is not None:
        return language
    if is_file(name):
        raise RuleExtrapError(f"{name} is a class in a file: call get_language({name!r}) first, which runs the file")
    # This call raises the error that describes the fault of the name.
    return get_language(name, paper=paper)


def check_consent(name: str, where: str | Path) -> None:
    """Refuse a class in a file that a recipe or a grid names, unless the user has named it in this process, too.

    Args:
        name: The name of the language in the recipe or grid.
        where: The path of the recipe or grid.

    Raises:
        RuleExtrapError: If the name is ``FILE.py:CLASS``, and `get_language` has not loaded the class.
    """
    if is_file(name) and _place(name) not in LOADED_CLASSES:
        raise RuleExtrapError(
            f"{where} names the language {name!r}, a class in a file, whose code would run: "
            f"give --language {name} to allow that"
        )


def is_file(name: str) -> bool:
    """Return whether a name is that of a class in a file, ``FILE.py:CLASS``."""
    return ".py:" in name or name.endswith(".py")


# The classes that this process has loaded from files, by file and class name.
LOADED_CLASSES: dict[tuple[str, str], type[Language]] = {}


def _place(reference: str) -> tuple[str, str]:
    """Return the path of ``FILE.py:CLASS`` without links and relative parts, and the class."""
    file, _, name = reference.rpartition(":")
    return os.path.realpath(file.replace("\0", "")), name


def _alike(place: tuple[str, str], reference: str) -> bool:
    """Return whether the names are equal. The folders may differ, because a run folder may be from another machine."""
    file, _, name = reference.rpartition(":")
    return (Path(place[0]).name, place[1]) == (re.split(r"[/\\]", file)[-1], name)


def _class_of(name: str) -> type[Language]:
    if is_file(name):
        LOADED_CLASSES[_place(name)] = loaded = _from_file(name)
        return loaded
    if name in built_in_languages():
        (language_class,) = _languages_in(importlib.import_module(f"{__name__}.{name}"))
        return language_class
    if name in installed_languages():
        point = installed_languages()[name]
        try:
            return _checked(name, point.load())
        except (ImportError, AttributeError) as error:
            raise RuleExtrapError(f"{name}: {point.value} of another package cannot be loaded: {error}") from None
    hint = "A language of your own is FILE.py:CLASS"
    raise unknown("language", name, list_languages(), hint)


@cache
def installed_languages() -> dict[str, EntryPoint]:
    """Return the languages that other packages register; the name of a built-in language cannot be replaced."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in built_in_languages()}


def _from_file(reference: str) -> type[Language]:
    """Return the class of ``FILE.py:CLASS``."""
    file, _, name = reference.rpartition(":") if ".py:" in reference else (reference, "", "")
    module = run_file(file)
    classes = [language_class.__name__ for language_class in _languages_in(module)]
    if not name:
        raise RuleExtrapError(f"{file!r} lacks the class: give {file}:{classes[0] if classes else 'CLASS'}")
    if not hasattr(module, name):
        raise unknown(f"class of {file}", name, classes) if classes else RuleExtrapError(f"{file} holds no Language")
    return _checked(reference, getattr(module, name))


def _languages_in(module: ModuleType) -> list[type[Language]]:
    """Return the languages that a module defines, without those that it imports."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Language) and value.__module__ == module.__name__
    ]


def _checked(name: str, value: object) -> type[Language]:
    if isinstance(value, type) and issubclass(value, Language):
        return value
    raise RuleExtrapError(f"{name} is {value!r:.60}, not a Language: derive it from hf_ruleextrap.formal.Language")
