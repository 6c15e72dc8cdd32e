"""Write the documentation as a static Space."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import write_text

_SOURCE = Path(__file__).parents[2] / "docs"

_README = """---
title: hf-ruleextrap
emoji: 📖
colorFrom: blue
colorTo: gray
sdk: static
app_file: index.html
license: apache-2.0
---

The documentation of hf-ruleextrap, built with Sphinx from the folder `docs` of its repository.
"""


def write_site(folder: str | Path, *, source: str | Path = _SOURCE) -> list[Path]:
    """Build the documentation and write the pages into a folder, with the card of a static Space.

    Args:
        folder: The folder of the Space.
        source: The folder of the documentation in a clone of the repository.

    Returns:
        The files of the Space.

    Raises:
        RuleExtrapError: The documentation is not there, because the package was installed without its repository;
            Sphinx is not installed; or Sphinx reports a fault, such as a broken link.
    """
    source, folder = Path(source), Path(folder)
    if not (source / "conf.py").is_file():
        raise RuleExtrapError("the documentation is not installed with the package: run this command in a clone of it")
    if find_spec("sphinx") is None:
        raise RuleExtrapError('the documentation needs Sphinx: pip install "hf-ruleextrap[docs]"')
    with TemporaryDirectory() as draft:
        pages = Path(draft, "pages")
        # A process of its own, because Sphinx and autodoc leave imports and settings behind.
        command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "--builder", "html"]
        process = subprocess.run(
            [*command, "--doctree-dir", str(Path(draft, "doctrees")), str(source), str(pages)],
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            lines = process.stderr.strip().splitlines() or ["no message"]
            raise RuleExtrapError(f"Sphinx cannot build {source}: {lines[0]}")
        shutil.copytree(pages, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".buildinfo", "objects.inv"))
    write_text(folder / "README.md", _README)
    return sorted(path for path in folder.rglob("*") if path.is_file())
