"""The checkpoints of the demo: run folders of this machine, or the checkpoints inside a Space."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

from hf_ruleextrap.completers import LocalModel
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import copy_file, safe_name, write_text
from hf_ruleextrap.inputs import parse_json, read_text
from hf_ruleextrap.sweep.grid import standard_order
from hf_ruleextrap.train.folder import RunFolder
from hf_ruleextrap.train.results import FILE as RESULTS
from hf_ruleextrap.train.results import Results

from .views import language_of

INDEX = "checkpoints.json"
"""The list of the checkpoints of a Space."""

MOST_BYTES = 20_000_000
"""The largest number of bytes of all checkpoints of a Space together."""

_LOADING = Lock()
_LOGGER = logging.getLogger(__name__)
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
    def of_run(cls, run: Path, results: Results) -> Checkpoint:
        """Return the checkpoint of a run folder with these results."""
        recipe = results.recipe
        learned = results.training.learned
        name = f"{recipe.architecture}, seed {recipe.seed}{'' if learned else ', has not learned the language'}"
        return cls(name, str(run), recipe.language, recipe.architecture, recipe.seed, learned)


def find_checkpoints(folders: Iterable[str | Path]) -> list[Checkpoint]:
    """Return the checkpoints in run folders, folders of runs, and Spaces.

    A run folder stands for its checkpoint, and a folder of runs for its `standard_checkpoints`.

    Raises:
        RuleExtrapError: If a folder holds no finished run.
    """
    checkpoints: list[Checkpoint] = []
    for folder in map(Path, folders):
        if (folder / INDEX).is_file():
            checkpoints += _read_index(folder)
        elif (folder / RESULTS).is_file():
            checkpoints.append(Checkpoint.of_run(folder, Results.read(folder)))
        else:
            checkpoints += standard_checkpoints([folder])
    unique = {checkpoint.folder: checkpoint for checkpoint in checkpoints}
    return _with_distinct_names(list(unique.values()))


def standard_checkpoints(folders: Iterable[str | Path]) -> list[Checkpoint]:
    """Return one checkpoint for each language and architecture.

    Of the runs of a language and an architecture, this is a run that learned the language before a run that did not,
    then a run of the standard recipe (`standard_order`), then the run with the lowest seed.

    Args:
        folders: Run folders, and folders of runs. Unreadable runs in a folder of runs are left out with a warning.

    Raises:
        RuleExtrapError: If a folder holds no finished run.
    """
    results: dict[Path, Results] = {}
    for folder in map(Path, folders):
        if (folder / RESULTS).is_file():
            results[folder] = Results.read(folder)
            continue
        of_folder = _read_runs(folder)
        if not of_folder:
            raise RuleExtrapError(f"{str(folder)!r} holds no finished run: name a run folder, or a folder of runs")
        results |= of_folder
    rank = standard_order(each.recipe for each in results.values())

    def order(run: Path) -> tuple[bool, tuple[bool, int], int, Path]:
        recipe, learned = results[run].recipe, results[run].training.learned
        return not learned, rank(recipe), recipe.seed, run

    chosen: dict[tuple[str, str], Checkpoint] = {}
    for run in sorted(results, key=order):
        checkpoint = Checkpoint.of_run(run, results[run])
        chosen.setdefault((checkpoint.language, checkpoint.architecture), checkpoint)
    return [chosen[pair] for pair in sorted(chosen)]


def _read_runs(folder: Path) -> dict[Path, Results]:
    """Return the results of the finished runs in a folder."""
    results = {}
    for run in RunFolder.all_in(folder):
        if not run.holds_results:
            continue
        try:
            results[run.path] = Results.read(run.path)
        except RuleExtrapError as error:
            _LOGGER.warning("left out: %s", error)
    return results


def load_checkpoint(checkpoint: Checkpoint) -> LocalModel:
    """Return the model of a checkpoint; the latest models stay in memory."""
    # Libraries change settings of the whole process while they load a model, so that two threads must not load at once.
    with _LOADING:
        return _load(checkpoint)


@lru_cache(256)
def _load(checkpoint: Checkpoint) -> LocalModel:
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
