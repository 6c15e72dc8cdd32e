"""The checkpoints of the demo: run folders of this machine, or the checkpoints inside a Space."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from hf_ruleextrap.completers import LocalModel
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import copy_file, safe_name, write_text
from hf_ruleextrap.inputs import parse_json, read_text
from hf_ruleextrap.train.results import FILE as RESULTS
from hf_ruleextrap.train.results import Results

from .views import language_of

INDEX = "checkpoints.json"
"""The list of the checkpoints of a Space."""

MOST_BYTES = 20_000_000
"""The largest number of bytes of all checkpoints of a Space together."""

_FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Checkpoint:
    """A trained model of the demo.

    Attributes:
        name: The name on the page.
        folder: The folder of the checkpoint.
        language: The name of the language that the model was trained on.
        architecture: The name of the architecture.
        seed: The seed of the run.
        learned: Whether the model learned its language.
    """

    name: str
    folder: str
    language: str
    architecture: str
    seed: int
    learned: bool

    @classmethod
    def of_run(cls, run: Path) -> Checkpoint:
        """Return the checkpoint of a run folder."""
        results = Results.read(run)
        recipe = results.recipe
        name = f"{recipe.architecture}, seed {recipe.seed}"
        return cls(name, str(run), recipe.language, recipe.architecture, recipe.seed, results.training.learned)


def find_checkpoints(folders: Iterable[str | Path]) -> list[Checkpoint]:
    """Return the checkpoints in run folders, folders of runs, and Spaces.

    Of a folder of runs, the learned run with the lowest seed stands for each pair of a language and an architecture.

    Raises:
        RuleExtrapError: A folder holds no finished run.
    """
    checkpoints: list[Checkpoint] = []
    for folder in map(Path, folders):
        if (folder / INDEX).is_file():
            checkpoints += _read_index(folder)
        elif (folder / RESULTS).is_file():
            checkpoints.append(Checkpoint.of_run(folder))
        else:
            runs = [Checkpoint.of_run(path.parent) for path in sorted(folder.glob(f"*/{RESULTS}"))]
            if not runs:
                raise RuleExtrapError(f"{str(folder)!r} holds no finished run: name a run folder, or a folder of runs")
            checkpoints += one_of_each(runs)
    unique = {checkpoint.folder: checkpoint for checkpoint in checkpoints}
    return _with_distinct_names(list(unique.values()))


def one_of_each(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Return the learned checkpoint with the lowest seed of each language and architecture."""
    chosen: dict[tuple[str, str], Checkpoint] = {}
    for checkpoint in sorted(checkpoints, key=lambda each: (each.language, each.architecture, each.seed)):
        if checkpoint.learned:
            chosen.setdefault((checkpoint.language, checkpoint.architecture), checkpoint)
    return list(chosen.values())


@lru_cache(256)
def load_checkpoint(checkpoint: Checkpoint) -> LocalModel:
    """Return the model of a checkpoint; the latest models stay in memory."""
    return LocalModel.from_pretrained(checkpoint.folder, language_of(checkpoint.language))


def copy_checkpoints(checkpoints: Sequence[Checkpoint], folder: Path) -> list[Checkpoint]:
    """Copy checkpoints into a Space, the smallest first, while all files together stay under `MOST_BYTES`.

    Args:
        checkpoints: The checkpoints.
        folder: The folder of the Space.

    Returns:
        The checkpoints that have no room.
    """
    sizes = {each: sum(path.stat().st_size for path in _files_of(each)) for each in checkpoints}
    copied, left_out, total = [], [], 0
    for checkpoint in sorted(checkpoints, key=lambda each: (sizes[each], each.language, each.architecture)):
        if total + sizes[checkpoint] > MOST_BYTES:
            left_out.append(checkpoint)
            continue
        total += sizes[checkpoint]
        place = f"checkpoints/{safe_name(f'{checkpoint.language}-{checkpoint.architecture}-seed{checkpoint.seed}')}"
        for path in _files_of(checkpoint):
            copy_file(path, folder / place / path.name)
        copied.append({**asdict(checkpoint), "folder": place})
    copied.sort(key=lambda each: (each["language"], each["architecture"], each["seed"]))
    write_text(folder / INDEX, json.dumps(copied, indent=2) + "\n")
    return left_out


def _files_of(checkpoint: Checkpoint) -> list[Path]:
    return [path for name in _FILES if (path := Path(checkpoint.folder, name)).is_file()]


def _read_index(folder: Path) -> list[Checkpoint]:
    entries = parse_json(read_text(folder / INDEX, "list of checkpoints"), str(folder / INDEX))
    try:
        return [Checkpoint(**{**entry, "folder": str(folder / entry["folder"])}) for entry in entries]
    except (TypeError, KeyError):
        raise RuleExtrapError(f"{folder / INDEX} is no list of checkpoints: write the Space again") from None


def _with_distinct_names(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """Add the folder to the names that two checkpoints of a language share."""
    pairs = [(each.language, each.name) for each in checkpoints]
    return [
        each
        if pairs.count((each.language, each.name)) == 1
        else Checkpoint(**{**asdict(each), "name": f"{each.name} ({Path(each.folder).name})"})
        for each in checkpoints
    ]
