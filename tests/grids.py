"""A grid for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tiny import TINY


def grid(folder: Path, axes: dict[str, Any], base: dict[str, Any] | None = None) -> Path:
    """Write a grid over one recipe, and return the file of the grid."""
    (folder / "base.yaml").write_text(yaml.safe_dump({**TINY, **(base or {})}))
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({"recipes": ["base.yaml"], "axes": axes}))
    return path
