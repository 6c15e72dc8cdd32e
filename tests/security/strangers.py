"""Run folders as a stranger would prepare them, and what shows that their code ran."""

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
    """A run folder of a stranger, and beside it a file of theirs with a language.

    Args:
        folder: empty; gets ``runs/theirs`` and ``evil.py``.
        run: a finished run that is copied.
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
        """Whether the stranger's code ran."""
        return bool(list(self.folder.rglob("RAN")))

    def results(self) -> dict[str, Any]:
        """What stands in ``results.json``."""
        loaded: dict[str, Any] = json.loads((self.run / "results.json").read_text(encoding="utf-8"))
        return loaded

    def write_results(self, results: dict[str, Any]) -> None:
        """Put another ``results.json`` there."""
        (self.run / "results.json").write_text(json.dumps(results), encoding="utf-8")

    def change(self, **recipe: Any) -> None:
        """Change the recipe, in the results as in ``recipe.yaml``."""
        results = self.results()
        results["recipe"] |= recipe
        self.write_results(results)
        (self.run / "recipe.yaml").write_text(yaml.safe_dump(results["recipe"]), encoding="utf-8")


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder, and what they hold."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
