"""What two runs of the same recipe must agree in, and where they do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_ABSENT = "absent"


def outcome(folder: Path) -> Any:
    """A run's results, without where, when and at which commit it ran."""
    results = json.loads((folder / "results.json").read_text())
    # The commit is read from a working tree that somebody may be editing while the tests run.
    for key in ("timing", "git_commit"):
        del results[key]
    del results["recipe"]["output_dir"]
    return results


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Each place where two values of JSON differ, as ``path: x != y``; numbers must be equal to the last bit.

    >>> differences({"a": [1, {"b": 2}], "c": None}, {"a": [1, {"b": 3}, 4], "d": None})
    ['a.1.b: 2 != 3', 'a.2: absent != 4', 'c: None != absent', 'd: absent != None']
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys: Any = sorted(ours.keys() | theirs.keys())
        pairs = [(key, ours.get(key, _ABSENT), theirs.get(key, _ABSENT)) for key in keys]
    elif isinstance(ours, list) and isinstance(theirs, list):
        longest = max(len(ours), len(theirs))
        left, right = (values + [_ABSENT] * (longest - len(values)) for values in (ours, theirs))
        pairs = list(zip(range(longest), left, right, strict=True))
    else:
        # Of the same type, so that 0 is not False; and nan is nan.
        return [] if repr(ours) == repr(theirs) else [f"{path}: {_show(ours)} != {_show(theirs)}"]
    return [line for key, x, y in pairs for line in differences(x, y, f"{path}.{key}" if path else str(key))]


def _show(value: Any) -> str:
    return value if value is _ABSENT else repr(value)
