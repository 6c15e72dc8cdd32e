"""The recipe keys of a run that takes a second, grids of such runs, and the comparison of two runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

TINY = {
    "max_length": 16,
    "train_size": 64,
    "held_out_size": 16,
    "max_steps": 20,
    "eval_steps": 10,
    "max_new_symbols": 16,
}


def grid(folder: Path, axes: dict[str, Any], base: dict[str, Any] | None = None) -> Path:
    """Write a grid over one recipe, and return the file of the grid."""
    (folder / "base.yaml").write_text(yaml.safe_dump({**TINY, **(base or {})}))
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({"recipes": ["base.yaml"], "axes": axes}))
    return path


_ABSENT = "absent"


def outcome(folder: Path) -> Any:
    """Return the results of a run without its folder, times and commit."""
    results = json.loads((folder / "results.json").read_text())
    # The working tree may change to another commit while the tests run.
    for key in ("timing", "git_commit"):
        del results[key]
    del results["recipe"]["output_dir"]
    return results


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Return a line ``path: x != y`` for each difference of two values of JSON. Numbers must be equal to the last bit.

    >>> differences({"a": [1, {"b": 2}], "c": None}, {"a": [1, {"b": 3}, 4], "d": None})
    ['a.1.b: 2 != 3', 'a.2: absent != 4', 'c: None != absent', 'd: absent != None']
    """
    if isinstance(first, dict) and isinstance(second, dict):
        keys: Any = sorted(first.keys() | second.keys())
        pairs = [(key, first.get(key, _ABSENT), second.get(key, _ABSENT)) for key in keys]
    elif isinstance(first, list) and isinstance(second, list):
        longest = max(len(first), len(second))
        left, right = (values + [_ABSENT] * (longest - len(values)) for values in (first, second))
        pairs = list(zip(range(longest), left, right, strict=True))
    else:
        # The representations of equal values have the same type, and nan equals nan.
        return [] if repr(first) == repr(second) else [f"{path}: {_show(first)} != {_show(second)}"]
    return [line for key, x, y in pairs for line in differences(x, y, f"{path}.{key}" if path else str(key))]


def _show(value: Any) -> str:
    return value if value is _ABSENT else repr(value)
