"""Write Spaces: the page of the metric, the demo with small trained checkpoints, and the documentation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from hf_ruleextrap import __version__
from hf_ruleextrap.demo.checkpoints import MOST_BYTES, Checkpoint, copy_checkpoints, standard_checkpoints
from hf_ruleextrap.demo.study import COMMITTED, find_studies
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import copy_file, write_text
from hf_ruleextrap.languages import built_in_languages, get_language, is_file
from hf_ruleextrap.metrics.build import build_metric
from hf_ruleextrap.report.store import FILE

from .cards import CITATION, INSTALL, ORGANIZATION, render

GRADIO = "6.31.0"
"""The version of Gradio for which the Spaces are tested."""

_DEMO_CARD = f"""---
title: Rule extrapolation demo
emoji: 🔍
colorFrom: blue
colorTo: gray
sdk: gradio
sdk_version: {GRADIO}
app_file: app.py
license: apache-2.0
---

Four views of rule extrapolation: the rules of a language at every symbol of a prompt, trained models side by side, the
runs of the studies, and the scores of any model's answers. `pip install -r requirements.txt gradio=={GRADIO}` and
`python app.py` start the same page on your machine.
"""

_APP = '''"""The demo of hf-ruleextrap as a Space."""

from pathlib import Path

from hf_ruleextrap.demo.app import launch

FOLDER = Path(__file__).resolve().parent

if __name__ == "__main__":
    launch([FOLDER], results=FOLDER / "results")
'''

_DOCS = Path(__file__).parents[2] / "docs"

_DOCS_CARD = """---
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


def write_metric(folder: str | Path, *, organization: str = ORGANIZATION) -> list[Path]:
    """Write the Space ``ORGANIZATION/rule_extrapolation`` into a folder; see `build_metric`."""
    build_metric(folder)
    card = render(
        "metric.md",
        repository=f"{organization}/rule_extrapolation",
        languages=[get_language(name) for name in built_in_languages()],
        version=__version__,
        gradio=GRADIO,
        install=INSTALL,
        citation=CITATION,
    )
    write_text(Path(folder) / "README.md", card)
    write_text(Path(folder) / "requirements.txt", "datasets\nevaluate\nnumpy\n")
    return sorted(path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def space_checkpoints(runs: Iterable[str | Path]) -> list[Checkpoint]:
    """Return the `standard_checkpoints` that a Space can show: models that learned a language of this package."""
    # A Space does not contain the file of a user's own language.
    return [each for each in standard_checkpoints(runs) if each.learned and not is_file(each.language)]


def write_demo(folder: str | Path, runs: Sequence[str | Path], *, results: str | Path = COMMITTED) -> list[Path]:
    """Write the Space: its card, ``app.py``, ``requirements.txt``, the checkpoints, and the studies.

    Args:
        folder: The folder of the Space.
        runs: Run folders and folders of runs. Their `space_checkpoints` are part of the Space, the smallest first, up
            to 20 MB.
        results: The folder of the studies.

    Returns:
        The files of the Space.

    Raises:
        RuleExtrapError: If a folder holds no finished run, or no model learned its language.
    """
    folder = Path(folder)
    checkpoints = space_checkpoints(runs)
    if not checkpoints:
        raise RuleExtrapError("no model of these runs learned its language: train longer, or name other runs")
    left_out = copy_checkpoints(checkpoints, folder)
    names = ", ".join(f"{each.language} {each.architecture}" for each in left_out)
    limit = f"\nThe limit of {MOST_BYTES / 1e6:.0f} MB leaves out: {names}.\n" if left_out else ""
    for name, path in find_studies(results).items():
        copy_file(path, folder / "results" / name / FILE)
    write_text(folder / "README.md", _DEMO_CARD + limit)
    write_text(folder / "app.py", _APP)
    write_text(folder / "requirements.txt", f"{INSTALL.removeprefix('pip install ')}\n")
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def write_site(folder: str | Path, *, source: str | Path = _DOCS) -> list[Path]:
    """Build the documentation and write the pages into a folder, with the card of a static Space.

    Args:
        folder: The folder of the Space.
        source: The folder of the documentation in a clone of the repository.

    Returns:
        The files of the Space.

    Raises:
        RuleExtrapError: If the documentation is not there, because the package was installed without its repository;
            Sphinx is not installed; or Sphinx reports a fault, such as a broken link.
    """
    source, folder = Path(source), Path(folder)
    if not (source / "conf.py").is_file():
        raise RuleExtrapError("the documentation is not installed with the package: run this command in a clone of it")
    if find_spec("sphinx") is None:
        raise RuleExtrapError('the documentation needs Sphinx: pip install "hf-ruleextrap[docs]"')
    with TemporaryDirectory() as draft:
        pages = Path(draft, "pages")
        # Sphinx runs in a process of its own, because Sphinx and autodoc leave imports and settings behind.
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
    write_text(folder / "README.md", _DOCS_CARD)
    return sorted(path for path in folder.rglob("*") if path.is_file())
