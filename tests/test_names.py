"""A name of the package has one meaning: a module is named otherwise than the functions and classes beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hf_ruleextrap

PACKAGE = Path(hf_ruleextrap.__file__).parent
# The metric's folder is no package: it travels to the Hub as it is.
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py" and (path.parent / "__init__.py").exists()
]


def defined(module: Path) -> set[str]:
    """Functions and classes that a file defines at its top level."""
    body = ast.parse(module.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}


def taken_from_modules(package: Path) -> Iterator[str]:
    """The names, other than modules, that the ``__init__.py`` of a package imports or defines."""
    init = package / "__init__.py"
    for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module != "hf_ruleextrap"):
            # `from . import module` names modules; `from .module import name` names what is in them.
            yield from (alias.asname or alias.name for alias in node.names if node.module is not None)
    yield from defined(init)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_named_like_a_function_or_class_in_it_or_in_its_package(module: Path) -> None:
    assert module.stem not in defined(module) | set(taken_from_modules(module.parent))


def test_the_reader_of_names_reads_them() -> None:
    assert "random_conjunction" in defined(PACKAGE / "formal" / "generated.py")
    assert {"chance", "Language"} <= set(taken_from_modules(PACKAGE / "formal"))
    assert "chance" in set(taken_from_modules(PACKAGE / "evaluation"))
