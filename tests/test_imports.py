"""The imports of the package follow the order of its layers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hf_ruleextrap

PACKAGE = Path(hf_ruleextrap.__file__).parent

# Each part may import itself and the parts in earlier rows.
LAYERS = [
    {"errors", "versions"},
    {"costs", "files", "inputs"},
    {"own_files"},
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
