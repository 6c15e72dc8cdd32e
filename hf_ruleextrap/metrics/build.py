"""Write the published folder of the metric, which works without this package."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import copy_file, write_text
from hf_ruleextrap.languages import built_in_languages, get_language
from hf_ruleextrap.metrics import GOLDEN, RULE_EXTRAPOLATION

_PACKAGE = Path(__file__).parents[1]
_NAME = _PACKAGE.name
_HEADER = '''"""Rules, languages and scoring of hf-ruleextrap in one file, which is generated: edit the modules."""

from __future__ import annotations

'''


def build_metric(folder: str | Path) -> list[Path]:
    """Write the metric as a folder that needs NumPy, `datasets` and `evaluate`, but not this package.

    ``app.py`` is the page of the folder's Space, and also needs Gradio.

    Args:
        folder: The folder, which is created if needed. Its name must be ``rule_extrapolation``, because `evaluate`
            looks for a script with the name of the folder.

    Returns:
        The paths of the files, sorted. The same sources give the same bytes.

    Raises:
        RuleExtrapError: If the folder has another name.
    """
    folder, source = Path(folder), Path(RULE_EXTRAPOLATION)
    if folder.name != source.name:
        raise RuleExtrapError(f"{str(folder)!r}: evaluate needs a folder with the name {source.name!r}")
    folder.mkdir(parents=True, exist_ok=True)
    for file in (source / f"{source.name}.py", source / "app.py", GOLDEN):
        copy_file(file, folder / file.name)
    write_text(folder / "rules.py", flat_source())
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def flat_source() -> str:
    """Return one text with all modules that scoring needs, each module after the modules that it imports.

    Raises:
        RuleExtrapError: If two modules define the same name.
    """
    modules = [f"{_NAME}.languages.{name}" for name in built_in_languages()]
    imports: defaultdict[str, set[str]] = defaultdict(set)
    owners: dict[str, str] = {}
    parts = []
    for module in _in_order([f"{_NAME}.formal.scoring", *modules]):
        tree = ast.parse(_file(module).read_text(encoding="utf-8"))
        for name in defined_names(tree):
            if owners.setdefault(name, module) != module:
                raise RuleExtrapError(f"{owners[name]} and {module} both define {name}: rename one of the two")
        parts.append(_body(module, tree, imports))
    classes = ", ".join(type(get_language(name)).__name__ for name in built_in_languages())
    languages = f"LANGUAGES = {{language.name: language() for language in ({classes})}}\n"
    return "\n\n".join([_HEADER + _statements(imports), *parts, languages])


def _file(module: str) -> Path:
    """Return the path of a module of this package."""
    return _PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")


def _home(node: ast.ImportFrom, module: str) -> str:
    """Return the module or package that a ``from … import`` statement names."""
    base = module.split(".")[: -node.level] if node.level else []
    return ".".join([*base, *([node.module] if node.module else [])])


def _ours(node: ast.stmt, module: str) -> list[str]:
    """Return the modules of this package from which a statement imports.

    If the statement imports a name from a package, the module that defines the name is returned.
    """
    if not isinstance(node, ast.ImportFrom) or not (home := _home(node, module)).startswith(_NAME):
        return []
    if not (_file(home).with_suffix("") / "__init__.py").exists():
        return [home]
    owners = _passed_on(home)
    return list(dict.fromkeys(owners[alias.name] for alias in node.names))


@cache
def _passed_on(package: str) -> dict[str, str]:
    """Return for each name that a package re-exports the module that defines the name."""
    initial = f"{package}.__init__"
    return {
        alias.name: _home(node, initial)
        for node in ast.parse(_file(initial).read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _in_order(modules: list[str]) -> list[str]:
    """Return the modules and their imports from this package, each module after the modules that it imports."""
    order: list[str] = []

    def visit(module: str) -> None:
        if module in order:
            return
        for node in ast.parse(_file(module).read_text(encoding="utf-8")).body:
            for home in _ours(node, module):
                visit(home)
        order.append(module)

    for module in modules:
        visit(module)
    return order


def defined_names(tree: ast.Module) -> list[str]:
    """Return the names that a module defines at its top level."""
    names = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            names += [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and _is_stored(part)]
    return names


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _body(module: str, tree: ast.Module, imports: defaultdict[str, set[str]]) -> str:
    """Return the text of a module under a heading, without its imports. Collect its imports of other packages."""
    lines = _file(module).read_text(encoding="utf-8").splitlines()
    for node in tree.body:
        is_import = isinstance(node, (ast.Import, ast.ImportFrom))
        if is_import or node is tree.body[0]:
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
        if is_import and not _ours(node, module):
            _collect(node, imports)
    heading = f"# {module.removeprefix(_NAME + '.')}: {(ast.get_docstring(tree) or '').splitlines()[0]}"
    return "\n".join([heading, "", *"\n".join(lines).strip().splitlines(), ""])


def _collect(node: ast.stmt, imports: defaultdict[str, set[str]]) -> None:
    """Add an import of another package: names under their module, and whole modules under the key ""."""
    if isinstance(node, ast.ImportFrom) and node.module != "__future__":
        imports[str(node.module)] |= {alias.name for alias in node.names}
    elif isinstance(node, ast.Import):
        imports[""] |= {f"{a.name} as {a.asname}" if a.asname else a.name for a in node.names}


def _statements(imports: defaultdict[str, set[str]]) -> str:
    """Return the import statements of the file."""
    whole = [f"import {name}" for name in sorted(imports[""])]
    named = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items()) if module]
    return "\n".join([*named, "", *whole, ""])
