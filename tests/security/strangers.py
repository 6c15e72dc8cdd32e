"""A run folder that a stranger has prepared, and a language file that leaves a mark when its code runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

LANGUAGE = """
from pathlib import Path
from hf_ruleextrap.formal import Regular, count_mod, no_factor

Path(__file__).with_name("RAN").touch()


class Theirs(Regular):
    name = "theirs"
    summary = "the number of a is a multiple of 3, no two b in a row"
    alphabet = ("a", "b")
    rules = (count_mod("a", 3, 0), no_factor("bb"))
"""


class Stranger:
    """A run folder of a stranger, and a language file of the stranger.

    Args:
        folder: An empty folder, in which the class writes ``runs/theirs`` and ``evil.py``.
        run: The finished run that is copied.
    """

    def __init__(self, folder: Path, run: Path) -> None:
        self.folder = folder
        self.run = folder / "runs" / "theirs"
        shutil.copytree(run, self.run)
        self.file = folder / "evil.py"
        self.file.write_text(LANGUAGE, encoding="utf-8")
        self.language = f"{self.file}:Theirs"

    @property
    def ran(self) -> bool:
        """Whether the code of the stranger has run."""
        return bool(list(self.folder.rglob("RAN")))

    def results(self) -> dict[str, Any]:
        """Return the contents of ``results.json``."""
        loaded: dict[str, Any] = json.loads((self.run / "results.json").read_text(encoding="utf-8"))
        return loaded

    def write_results(self, results: dict[str, Any]) -> None:
        """Replace ``results.json``."""
        (self.run / "results.json").write_text(json.dumps(results), encoding="utf-8")

    def change(self, **recipe: Any) -> None:
        """Change the recipe in ``results.json`` and in ``recipe.yaml``."""
        results = self.results()
        results["recipe"] |= recipe
        self.write_results(results)
        (self.run / "recipe.yaml").write_text(yaml.safe_dump(results["recipe"]), encoding="utf-8")


def tree(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder by their relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
