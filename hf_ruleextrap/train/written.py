"""The names of the files that a run writes. Only these files may be removed; all others belong to the user."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hf_ruleextrap.errors import RuleExtrapError, one_line
from hf_ruleextrap.files import is_leftover

LAST = "last"
"""The folder of the last checkpoint, inside the run folder. The run folder itself is the best checkpoint."""

CHECKPOINT = "checkpoint-"
"""The prefix of the Trainer's checkpoint folders, followed by the step."""

_STEP = re.compile(rf"{CHECKPOINT}\d+")
_OF_CHECKPOINT = re.compile(
    r"(generation_)?config\.json|tokenizer(_config)?\.json|special_tokens_map\.json|chat_template\.jinja"
    r"|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|training_args\.bin"
    r"|(optimizer|scheduler|scaler)\.pt|rng_state(_\d+)?\.pth|trainer_state\.json|sealed\.json(\.part)?"
)
# `hf-ruleextrap plot` writes its picture here by default.
_OF_RUN = re.compile(r"(recipe\.yaml|results\.json)(\.part)?|log\.jsonl|plot\.png")
_TENSORBOARD = "runs"
_EVENTS = "events.out.tfevents."
_SHOWN = 5


def checkpoints(run: Path) -> list[Path]:
    """Return the Trainer's checkpoints in a run folder, the earliest first."""
    folders = [path for path in run.glob(f"{CHECKPOINT}*") if _STEP.fullmatch(path.name) and _is_folder(path)]
    return sorted(folders, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint folder."""
    return int(checkpoint.name.removeprefix(CHECKPOINT))


def written_files(run: Path) -> tuple[list[Path], list[Path]]:
    """Divide the contents of a run folder into the run's own files and all others.

    Args:
        run: The run folder.

    Returns:
        The files that a run writes, with the empty folders that a killed run leaves; and the paths that a run does not
        write: other files, other folders, and links of any name.
    """
    written: list[Path] = []
    other: list[Path] = []
    for path in _walk(run):
        (written if _is_written(path, run) else other).append(path)
    return written, other


def remove_run(run: Path, last: Path) -> None:
    """Remove the files that a run wrote, and then the folders that are empty. The run folder itself stays.

    Args:
        run: The run folder.
        last: The file that is removed after all others, because it marks the folder as a run folder.

    Raises:
        RuleExtrapError: If the folder is the working directory or one of its parents, or if the folder contains a file
            that a run does not write. No file is removed in these cases.
    """
    here = Path.cwd().resolve()
    if run.resolve() in (here, *here.parents):
        raise RuleExtrapError(
            f"--overwrite does not remove {run}, because that folder is or contains the working directory: "
            "give a folder for the run alone as --output_dir"
        )
    written, other = written_files(run)
    if other:
        names = [one_line(str(path.relative_to(run))) for path in sorted(other)]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise RuleExtrapError(
            f"--overwrite removes only the files of a run, but {run} also holds {', '.join(names[:_SHOWN])}{more}: "
            "move these files away, or give another --output_dir"
        )
    # The results are removed first, so that a process killed in between does not leave a folder that looks finished.
    for path in sorted(written, key=lambda path: (path != run / "results.json", path == last)):
        if path.is_dir():
            _remove_empty(path, run)
            continue
        path.unlink()
        if path.parent != run and not any(path.parent.iterdir()):
            _remove_empty(path.parent, run)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files, links and empty folders, without the drafts and locks of the process that holds the folder."""
    for path in folder.iterdir():
        if is_leftover(path):
            continue
        if _is_folder(path) and any(path.iterdir()):
            yield from _walk(path)
        else:
            yield path


def _is_written(path: Path, run: Path) -> bool:
    *folders, name = path.relative_to(run).parts
    if _is_folder(path):
        # A kill between the files of a folder and the folder leaves it empty.
        return _is_folder_of_run(folders[0] if folders else name, len(folders))
    if path.is_symlink() or not path.is_file():
        return False
    if not folders and _OF_RUN.fullmatch(name):
        return True
    if folders and folders[0] == _TENSORBOARD:
        return name.startswith(_EVENTS)
    in_checkpoint = not folders or (len(folders) == 1 and _is_folder_of_run(folders[0], 0))
    return in_checkpoint and (bool(_OF_CHECKPOINT.fullmatch(name)) or name in _modeling_files())


def _is_folder_of_run(name: str, depth: int) -> bool:
    """Whether a run makes a folder of this name, or folders at a depth below it."""
    return name == _TENSORBOARD or (depth == 0 and (name == LAST or bool(_STEP.fullmatch(name))))


@cache
def _modeling_files() -> set[str]:
    """Return the names of the modeling files, which are copied into the checkpoints of this package's models."""
    from hf_ruleextrap import models

    return {f"{module.name}.py" for module in pkgutil.iter_modules(models.__path__)}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove_empty(folder: Path, run: Path) -> None:
    while folder != run and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
