"""A name has one meaning: no module is named like a function or class beside it; a private name stays in its room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hf_ruleextrap

PACKAGE = Path(hf_ruleextrap.__file__).parent
# The folder of the metric is not a package, because it is published as a folder.
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py" and (path.parent / "__init__.py").exists()
]


def defined(module: Path) -> set[str]:
    """Return the functions and classes that a file defines at its top level."""
    body = ast.parse(module.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}


def names_of_init(package: Path) -> Iterator[str]:
    """Yield the names, other than modules, that the ``__init__.py`` of a package imports or defines."""
    init = package / "__init__.py"
    for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module != "hf_ruleextrap"):
            # `from . import module` imports modules; `from .module import name` imports their names.
            yield from (alias.asname or alias.name for alias in node.names if node.module is not None)
    yield from defined(init)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_named_like_a_function_or_class_in_it_or_in_its_package(module: Path) -> None:
    assert module.stem not in defined(module) | set(names_of_init(module.parent))


def test_defined_and_imported_names_are_recognized() -> None:
    assert "random_conjunction" in defined(PACKAGE / "formal" / "generated.py")
    assert {"chance", "Language"} <= set(names_of_init(PACKAGE / "formal"))
    assert "chance" in set(names_of_init(PACKAGE / "evaluation"))


def private_parts_of_others(path: Path) -> list[str]:
    """What a file imports, or looks up in a module that it imports, by a private name of a room other than its own."""
    inside = PACKAGE in path.parents
    own_package = ["hf_ruleextrap", *path.relative_to(PACKAGE).parts[:-1]] if inside else []
    modules: dict[str, str] = {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = own_package[: len(own_package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            modules |= {alias.asname or alias.name: f"{source}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
    names = [
        f"{modules[ast.unparse(node.value)]}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in modules
    ]
    return [
        name
        for name in [*modules.values(), *names]
        if name.startswith("hf_ruleextrap.")
        and any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
        and name.split(".")[1] != (own_package[1] if len(own_package) > 1 else None)
    ]


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_part_uses_a_private_name_of_another(module: Path) -> None:
    assert private_parts_of_others(module) == []


def test_private_names_of_other_parts_are_recognized(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "from hf_ruleextrap.formal import words\n"
        "from hf_ruleextrap.completers._local import LocalModel\n"
        "import hf_ruleextrap.languages\n"
        "print(words._CODES, words.WordBatch, hf_ruleextrap.languages._LOADED, hf_ruleextrap.__version__)\n"
    )
    assert private_parts_of_others(module) == [
        "hf_ruleextrap.completers._local.LocalModel",
        "hf_ruleextrap.formal.words._CODES",
        "hf_ruleextrap.languages._LOADED",
    ]
