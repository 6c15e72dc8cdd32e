"""Files and folders that are broken in different ways, for the table of mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path

_TEXTS = {
    "deep.yaml": "model: " + "[" * 100_000,
    "deep.json": "[" * 200_000 + "]" * 200_000,
    "model5.yaml": "model: 5\n",
    "recipes5.yaml": "recipes: [5]\n",
    "recipesnull.yaml": "recipes: [null]\n",
    "axesnull.yaml": "axes: {null: [1]}\n",
    "keys.yaml": "1: 2\n",
    "list.yaml": "- a\n",
    "tab.yaml": "language:\tanbn\n\t- x: [\n",
    "empty.yaml": "",
    "tag.yaml": "language: !!python/object/apply:os.getcwd []\n",
    "date.yaml": "language: 2020-01-01\n",
    "raises.py": "raise SystemExit(3)\n",
    "raises2.py": "1/0\n",
    "syntax.py": "def (\n",
    "recursion.py": "def f(): f()\nf()\n",
    "file": "x",
    # Each line has ten times the values of the line before.
    "laughs.yaml": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)),
    "late.py": """
from hf_ruleextrap.languages.anbn import AnBn

class Late(AnBn):
    name = "late"

    def draw(self, *arguments, **keywords):
        raise KeyError("x")

    def alive(self, state):
        raise IndexError(1)
""",
    "init.py": """
from hf_ruleextrap.languages.anbn import AnBn

class Init(AnBn):
    name = "init"

    def __init__(self, **keywords):
        raise KeyError("x")
""",
    "nomod.py": """
from hf_ruleextrap.formal import Regular, count_mod, no_factor

class M(Regular):
    name = "m"
    summary = "m"
    level = "regular"
    alphabet = ("a", "b")
    rules = (count_mod("a", 0, 0), no_factor("bb"))
""",
}
_BYTES = {
    "latin1.yaml": "language: anbn # hé\n".encode("latin1"),
    "latin1.jsonl": '{"prompt": "aé", "completion": "b"}\n'.encode("latin1"),
    "binary.yaml": bytes(range(256)),
}
_RUNS = {
    "torn": ("model.safetensors", None),
    "emptyw": ("model.safetensors", ""),
    "badtok": ("tokenizer.json", "{"),
    "badconf": ("config.json", "{"),
    "notconf": ("config.json", "[]"),
    "logstrange": ("log.jsonl", 'nonsense\n[]\n{"step": "x"}\n'),
    "resultstorn": ("results.json", '{"a": '),
    "resultsdeep": ("results.json", "[" * 100_000),
    "recipebad": ("recipe.yaml", "language: ["),
}


def write_broken_files(folder: Path, run: Path) -> None:
    """Write the files, a copy of a finished run, and broken copies of that run."""
    for name, text in _TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, data in _BYTES.items():
        (folder / name).write_bytes(data)
    shutil.copytree(run, folder / "run")
    for name, (file, text) in _RUNS.items():
        path = shutil.copytree(run, folder / name) / file
        if text is None:
            path.write_bytes(path.read_bytes()[:100])
        else:
            path.write_text(text, encoding="utf-8")
