"""Imports follow the order of the layers, and each name of the package has one meaning and its place."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import hf_ruleextrap

PACKAGE = Path(hf_ruleextrap.__file__).parent

# Each part may import itself and the parts in earlier rows.
LAYERS = [
    {"errors", "versions"},
    {"costs", "files", "inputs"},
    {"formal"},
    {"disk_cache", "languages", "symbol_tokenizer"},
    {"tokenization", "data", "metrics", "models"},
    {"causality", "kernels", "presets"},
    {"architectures", "completers"},
    {"evaluation"},
    {"train"},
    {"sweep"},
    {"report"},
    {"demo"},
    {"hub"},
    {"cli"},
    {"__main__"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(module: Path) -> set[str]:
    """Return the full names of all imports of a file."""
    parts = ["hf_ruleextrap", *module.relative_to(PACKAGE).with_suffix("").parts]
    package = parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{name}.{alias.name}" for alias in node.names}
    return names


def part_of(name: str) -> str:
    return name.split(".")[1]


def ours(names: set[str]) -> set[str]:
    return {part_of(name) for name in names if name.startswith("hf_ruleextrap.")}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_order_of_the_layers(module: Path) -> None:
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    if parts == ("__init__",):
        # The package loads its public names at their first use.
        return
    own_part = parts[0]
    allowed = {part for part, level in LEVEL.items() if level < LEVEL[own_part]} | {own_part, "__version__"}
    assert ours(imported(module)) <= allowed


def test_imports_are_recognized() -> None:
    names = imported(PACKAGE / "evaluation" / "evaluate.py")
    assert "hf_ruleextrap.languages.get_language" in names
    assert "hf_ruleextrap.evaluation.table.show" in imported(PACKAGE / "cli" / "evaluate.py")


# Checkpoints contain these files, but not `__init__.py`.
CHECKPOINT_FILES = [path for path in sorted((PACKAGE / "models").glob("*.py")) if path.name != "__init__.py"]


@pytest.mark.parametrize("module", CHECKPOINT_FILES, ids=lambda path: path.name)
def test_models_import_only_their_siblings_from_this_package(module: Path) -> None:
    siblings = {f"hf_ruleextrap.models.{path.stem}" for path in (PACKAGE / "models").glob("*.py")}
    own_modules = {name.rpartition(".")[0] for name in imported(module) if name.startswith("hf_ruleextrap")}
    assert own_modules <= siblings


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import hf_ruleextrap.formal", ("torch", "transformers", "datasets", "pydantic")),
        ("import hf_ruleextrap; dir(hf_ruleextrap)", ("numpy", "torch", "transformers", "datasets", "pydantic")),
        ("import hf_ruleextrap; hf_ruleextrap.get_language('dyck')", ("torch", "transformers", "datasets")),
        ("from hf_ruleextrap import score, chance", ("torch", "transformers", "datasets")),
        (
            "from hf_ruleextrap.cli import build_parser; build_parser()",
            ("numpy", "torch", "transformers", "datasets", "pydantic"),
        ),
    ],
)
def test_light_imports_load_nothing_heavy(statement: str, absent: tuple[str, ...]) -> None:
    check = f"{statement}; import sys; print([m for m in {absent!r} if m in sys.modules])"
    process = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=True)
    assert process.stdout.strip() == "[]"


# Names of modules.


# The folder of the metric is not a package, because it is published as a folder.
MODULES_OF_PACKAGES = [
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


@pytest.mark.parametrize("module", MODULES_OF_PACKAGES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_named_like_a_function_or_class_in_it_or_in_its_package(module: Path) -> None:
    assert module.stem not in defined(module) | set(names_of_init(module.parent))


def test_defined_and_imported_names_are_recognized() -> None:
    assert "random_conjunction" in defined(PACKAGE / "formal" / "generated.py")
    assert {"chance", "Language"} <= set(names_of_init(PACKAGE / "formal"))
    assert "chance" in set(names_of_init(PACKAGE / "evaluation"))


# Private names.


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def private_parts_of_others(path: Path) -> list[str]:
    """Return the private names of other parts that a file imports, or looks up in a module that it imports."""
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
        and any(map(is_private, name.split(".")))
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
        "print(words._CODES, words.WordBatch, hf_ruleextrap.languages._place, hf_ruleextrap.__version__)\n"
    )
    assert private_parts_of_others(module) == [
        "hf_ruleextrap.completers._local.LocalModel",
        "hf_ruleextrap.formal.words._CODES",
        "hf_ruleextrap.languages._place",
    ]


TESTS = Path(__file__).parent


@cache
def private_names_of_the_package() -> frozenset[str]:
    """Return the private names of functions, classes, variables and attributes that the package defines."""
    names: set[str] = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return frozenset(filter(is_private, names))


def uses_of_private_names(path: Path) -> list[str]:
    """Return the private names of the package that a test imports, looks up in an object, or replaces in an object."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            names.append(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names += [part for alias in node.names for part in f"{node.module}.{alias.name}".split(".")]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("attr"):
            texts = [word.value for word in node.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
            names += [part for text in texts for part in text.split(".")]
    return [name for name in names if name in private_names_of_the_package()]


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_uses_a_private_name_of_the_package(path: Path) -> None:
    assert uses_of_private_names(path) == []


def test_uses_of_private_names_are_recognized(tmp_path: Path) -> None:
    names = sorted(private_names_of_the_package())[:5]
    path = tmp_path / "test_something.py"
    path.write_text(
        f"from hf_ruleextrap.formal.words import {names[0]}\n"
        f"assert cache.{names[1]} and self.{names[1]} and cache.path and cache._no_name_of_the_package\n"
        f"monkeypatch.setattr(module, {names[2]!r}, 1)\n"
        f"patch.setattr('hf_ruleextrap.train.run.{names[3]}', print)\n"
        f"getattr(build(), {names[4]!r})\n"
    )
    assert sorted(uses_of_private_names(path)) == names
