"""Find the files that users name, read their text, JSON and YAML, and run their classes. Each error is one line."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Hashable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import yaml

from .errors import RuleExtrapError, one_line, unknown

if TYPE_CHECKING:
    from pydantic import ValidationError

FILE_MODULE = "hf_ruleextrap_file_"
"""The beginning of a module's name for a file that the user names as FILE.py:CLASS; the file's name follows."""

MOST_DEPTH = 32
"""The largest number of nested levels of lists and mappings in a YAML text."""

_PACKAGE = Path(__file__).parent
_MOST_YAML = 1 << 20
_MOST_VALUES = 100_000


def packaged_files(kind: Literal["recipe", "grid"]) -> dict[str, Path]:
    """Return the recipes or the grids that come with the package: name to file, sorted by name.

    >>> "quickstart" in packaged_files("recipe"), "mini" in packaged_files("grid")
    (True, True)
    """
    return {path.stem: path for path in sorted((_PACKAGE / f"{kind}s").glob("*.yaml"))}


def find_file(kind: Literal["recipe", "grid"], name: str | Path, *, beside: Path | None = None) -> Path:
    """Return the file of a recipe or a grid.

    Args:
        kind: ``"recipe"`` or ``"grid"``.
        name: A path, or a name of `packaged_files`. A name that ends in ``.yaml`` or contains a folder is a path.
        beside: The folder from which a relative path starts; the default is the working directory.

    Raises:
        RuleExtrapError: If the file does not exist. The message suggests the nearest names.

    >>> find_file("grid", "minni")
    Traceback (most recent call last):
    hf_ruleextrap.errors.RuleExtrapError: cannot read the grid: unknown grid 'minni': did you mean 'mini'? ...
    """
    known = packaged_files(kind)
    is_path = Path(name).suffix in {".yaml", ".yml"} or len(Path(name).parts) != 1
    if not is_path and str(name) in known:
        return known[str(name)]
    path = Path(name) if beside is None else beside / name
    if path.is_file():
        return path
    if is_path or path.exists():
        reason = "it is a folder" if path.is_dir() else "there is no such file"
        names = "`hf-ruleextrap recipes` lists" if kind == "recipe" else f"the package has: {', '.join(known)}"
        raise RuleExtrapError(
            f"cannot read the {kind} {shown(path)}: {reason}; give a YAML file, or a name that {names}"
        )
    raise RuleExtrapError(f"cannot read the {kind}: {unknown(kind, str(name), known)}. A YAML file works too")


def check_not_mistyped(name: str) -> None:
    """Refuse the name of a checkpoint that can only be a path and that does not exist.

    A name such as ``owner/name`` may be a repository on the Hub, unless a folder ``owner`` is here.

    Raises:
        RuleExtrapError: If the name is a path that does not exist. The message suggests the nearest folders.
    """
    path = Path(os.path.expanduser(name))  # noqa: PTH111  # Path.expanduser raises an error for an unknown user
    # A name of one part is a repository without an owner, such as gpt2.
    is_path = name.startswith((".", "~", "/")) or name.endswith("/") or len(path.parts) > 2
    try:
        if path.exists() or not (is_path or (len(path.parts) == 2 and path.parent.is_dir())):
            return
        siblings = [sibling.name for sibling in path.parent.iterdir() if sibling.is_dir()]
    # The parent is no folder either, or the name cannot be a path.
    except (OSError, ValueError):
        siblings = []
    near = difflib.get_close_matches(path.name, siblings, n=2, cutoff=0.5)
    guess = f"did you mean {' or '.join(repr(str(path.parent / sibling)) for sibling in near)}? " if near else ""
    raise RuleExtrapError(
        f"no checkpoint can be loaded from {shown(name)}: there is no such folder; {guess}name a folder that exists, "
        "or a repository on the Hub as OWNER/NAME"
    )


def read_text(path: str | Path, what: str, *, most_bytes: int | None = None) -> str:
    """Return the text of a UTF-8 file, without a byte order mark at its beginning.

    Args:
        path: The file.
        what: The noun for the file in an error message, for example ``"recipe"``.
        most_bytes: The largest allowed size of the file; None for no limit.

    Raises:
        RuleExtrapError: If the file cannot be opened, is too large, or is not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(-1 if most_bytes is None else most_bytes + 1)
    except OSError as error:
        raise RuleExtrapError(f"cannot read the {what} {shown(path)}: {error.strerror}; name a readable file") from None
    except ValueError as error:
        raise RuleExtrapError(f"cannot read the {what} {shown(path)}: {error}; name a readable file") from None
    if most_bytes is not None and len(data) > most_bytes:
        raise RuleExtrapError(f"the {what} {shown(path)} is larger than {most_bytes:,} bytes: name a smaller file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RuleExtrapError(
            f"the {what} {shown(path)} is not UTF-8: line {line} contains the byte 0x{data[error.start]:02x}; "
            "save the file as UTF-8"
        ) from None


def parse_json(text: str, where: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: The JSON.
        where: The name of its source in an error message.

    Raises:
        RuleExtrapError: If the text is not JSON, or nests too deeply.

    >>> parse_json("[1, ", "scores.json")
    Traceback (most recent call last):
    hf_ruleextrap.errors.RuleExtrapError: scores.json is not JSON: Expecting value, line 1, column 5
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RuleExtrapError(
            f"{where} is not JSON: {error.msg.partition(':')[0]}, line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise RuleExtrapError(f"{where} nests too deeply: write plain lists and objects") from None
    except ValueError as error:
        raise RuleExtrapError(f"{where} is JSON that cannot be read: {error}") from None


def first_problem(error: ValidationError) -> str:
    """Return the place and the reason of the first field that does not fit a schema, as one line."""
    problem = error.errors()[0]
    return one_line(f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}")


def parse_json_lines(text: str, where: str, example: str = '{"key": value, …}') -> list[tuple[int, dict[str, Any]]]:
    r"""Return the objects of a text that has one JSON object in each line, with their line numbers.

    Only a line feed ends a line.

    Args:
        text: The lines.
        where: The name of their source in an error message.
        example: A correct line, for an error message.

    Raises:
        RuleExtrapError: If a line is neither empty nor a JSON object.

    >>> parse_json_lines('{"a": 1}\n\n{"a": 2}', "log.jsonl")
    [(1, {'a': 1}), (3, {'a': 2})]
    """
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = parse_json(line, f"{where}, line {number},")
            except RuleExtrapError as error:
                raise RuleExtrapError(f"{error}; write {example}") from None
            if not isinstance(row, dict):
                raise RuleExtrapError(f"{where}, line {number}, contains no object: write {example}")
            rows.append((number, row))
    return rows


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text. ``1e-3`` is a number, as in YAML 1.2 (YAML 1.1 reads a string).

    Args:
        text: The YAML.
        where: The name of its source in an error message.

    Raises:
        RuleExtrapError: If the text is not YAML, names a key twice, nests too deeply, or expands to too many values.

    >>> parse_yaml("rate: 1e-3", "r.yaml")
    {'rate': 0.001}
    >>> parse_yaml("a: [", "r.yaml")
    Traceback (most recent call last):
    hf_ruleextrap.errors.RuleExtrapError: r.yaml is not YAML: expected the node content, line 1, column 5
    """
    try:
        _check_nesting(text, where)
        value = yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        place = f", line {mark.line + 1}, column {mark.column + 1}" if (mark := error.problem_mark) else ""
        problem = (error.problem or "unreadable").partition(", but found")[0]
        raise RuleExtrapError(f"{where} is not YAML: {problem}{place}") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        raise RuleExtrapError(f"{where} is YAML that cannot be read: {' '.join(str(error).split())}") from None
    if _count(value, {}) > _MOST_VALUES:
        raise RuleExtrapError(f"{where} expands to more than {_MOST_VALUES:,} values: remove the aliases")
    return value


def read_yaml(path: str | Path, what: str = "recipe") -> dict[str, Any]:
    """Return the keys and values of a YAML file.

    Raises:
        RuleExtrapError: If the file cannot be read, is not YAML, or is not a mapping with text keys.
    """
    value = parse_yaml(read_text(path, what, most_bytes=_MOST_YAML), str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RuleExtrapError(f"{path} contains a {type(value).__name__}: write the {what} as lines of `key: value`")
    for key in value:
        if not isinstance(key, str):
            raise RuleExtrapError(f"{path}: the key {key!r:.40} is not text: write the key in quotation marks")
    return value


def shown(path: str | Path, most: int = 120) -> str:
    """Return a path in quotation marks, shortened in the middle where it is very long."""
    text = repr(str(path))
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 :]}"


class _Loader(yaml.SafeLoader):
    """A loader of plain YAML values that reads exponents as YAML 1.2 does and refuses a repeated key."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise yaml.MarkedYAMLError(problem=f"the key {repeated[0]!r} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


# The resolvers are an attribute of the class. Without this copy, SafeLoader itself would change.
_Loader.yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def _check_nesting(text: str, where: str) -> None:
    """Refuse deep nesting before a recursive function reads the text."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise RuleExtrapError(f"{where} nests more than {MOST_DEPTH} levels: write plain lists and keys")


def _count(value: Any, counts: dict[int, int]) -> int:
    """Return the number of values after all aliases are replaced by their values."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in counts:
        # A list that contains an alias to itself has no end.
        counts[id(value)] = _MOST_VALUES + 1
        parts = value.values() if isinstance(value, dict) else value
        counts[id(value)] = 1 + sum(_count(part, counts) for part in parts)
    return counts[id(value)]


def run_file(path: str | Path) -> ModuleType:
    """Run a Python file and return its module.

    Raises:
        RuleExtrapError: If the file does not exist, or its code raises an exception.
    """
    path = Path(path)
    try:
        exists = path.is_file()
    except (OSError, ValueError):
        exists = False
    if not exists:
        raise RuleExtrapError(f"there is no file {shown(path)}: name an existing file as FILE.py:CLASS")
    # The module is in sys.modules under a name of its own, because dataclasses and pickle look modules up there.
    name = f"{FILE_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RuleExtrapError(f"{shown(path)} is not a Python file: name one as FILE.py:CLASS")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise RuleExtrapError(f"{path}, line {error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        raise RuleExtrapError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from None
    return module
