"""Write the demo as a Gradio Space with small trained checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hf_ruleextrap.demo.checkpoints import MOST_BYTES, Checkpoint, copy_checkpoints, standard_checkpoints
from hf_ruleextrap.demo.study import COMMITTED, FILE, find_studies
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import copy_file, write_text
from hf_ruleextrap.languages import is_file

from .cards import INSTALL
from .metric import GRADIO

_README = f"""---
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


def space_checkpoints(runs: Iterable[str | Path]) -> list[Checkpoint]:
    """Return the `standard_checkpoints` that a Space can show: models that learned a language of this package."""
    # A Space has no file of a language of its own.
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
        RuleExtrapError: A folder holds no finished run, or no model learned its language.
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
    write_text(folder / "README.md", _README + limit)
    write_text(folder / "app.py", _APP)
    write_text(folder / "requirements.txt", f"{INSTALL.removeprefix('pip install ')}\n")
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
