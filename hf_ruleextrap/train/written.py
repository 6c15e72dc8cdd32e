"""The files that a run writes, by name: these may be removed, and everything else is somebody else's."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hf_ruleextrap.errors import RuleExtrapError, one_line
from hf_ruleextrap.files import is_leftover

LAST = "last"
"""The folder of the last checkpoint, inside the run folder (which is itself the best one)."""

CHECKPOINT = "checkpoint-"
"""What the names of the checkpoints that the Trainer writes begin with; the step follows."""

_STEP = re.compile(rf"{CHECKPOINT}\d+")
_OF_CHECKPOINT = re.compile(
    r"(generation_)?config\.json|tokenizer(_config)?\.json|special_tokens_map\.json|chat_template\.jinja"
    r"|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|training_args\.bin"
    r"|(optimizer|scheduler|scaler)\.pt|rng_state(_\d+)?\.pth|trainer_state\.json|sealed\.json(\.part)?"
)
# The picture is that of `hf-ruleextrap plot`, whose place it is unless one says otherwise.
_OF_RUN = re.compile(r"(recipe\.yaml|results\.json)(\.part)?|log\.jsonl|plot\.png")
_TENSORBOARD = "runs"
_EVENTS = "events.out.tfevents."
_SHOWN = 5


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints that the Trainer left in a run folder, the earliest first."""
    found = [path for path in run.glob(f"{CHECKPOINT}*") if _STEP.fullmatch(path.name) and _is_folder(path)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint of `checkpoints`."""
    return int(checkpoint.name.removeprefix(CHECKPOINT))


def written_files(run: Path) -> tuple[list[Path], list[Path]]:
    """What lies in a run folder.

    Args:
        run: the folder of a run.

    Returns:
        The files that a run writes; and what a run does not write: other files, other folders, and links of any name.
    """
    written: list[Path] = []
    other: list[Path] = []
    for path in _walk(run):
        (written if _is_written(path, run) else other).append(path)
    return written, other


def remove_run(run: Path, last: Path) -> None:
    """Remove the files that a run wrote, and the folders that are empty then; the run folder itself stays.

    Args:
        run: the folder of a run.
        last: the file that is removed after all others, because it says that the folder holds a run.

    Raises:
        RuleExtrapError: the folder is the working directory or one of its parents, or holds something that a run does
            not write. Nothing is removed then.
    """
    here = Path.cwd().resolve()
    if run.resolve() in (here, *here.parents):
        raise RuleExtrapError(
            f"--overwrite does not remove {run}, which is the working directory or has it inside: give a folder of its "
            "own as --output_dir"
        )
    written, other = written_files(run)
    if other:
        names = [one_line(str(path.relative_to(run))) for path in sorted(other)]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise RuleExtrapError(
            f"--overwrite removes what a run writes, and {run} also holds {', '.join(names[:_SHOWN])}{more}: "
            "move that away, or give another --output_dir"
        )
    # The results go first: whoever is killed in between must not leave what looks like a finished run.
    for path in sorted(written, key=lambda path: (path != run / "results.json", path == last)):
        path.unlink()
        if path.parent != run and not any(path.parent.iterdir()):
            _remove_empty(path.parent, run)


def _walk(folder: Path) -> Iterator[Path]:
    """Files, links, and folders that are empty; drafts and locks are left to whoever holds the folder."""
    for path in folder.iterdir():
        if is_leftover(path):
            continue
        if _is_folder(path) and any(path.iterdir()):
            yield from _walk(path)
        else:
            yield path


def _is_written(path: Path, run: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    *folders, name = path.relative_to(run).parts
    if not folders and _OF_RUN.fullmatch(name):
        return True
    if folders and folders[0] == _TENSORBOARD:
        return name.startswith(_EVENTS)
    in_place = not folders or (len(folders) == 1 and (folders[0] == LAST or bool(_STEP.fullmatch(folders[0]))))
    return in_place and (bool(_OF_CHECKPOINT.fullmatch(name)) or name in _modeling_files())


@cache
def _modeling_files() -> set[str]:
    """The files of our architectures, which travel with their checkpoints."""
    from hf_ruleextrap import models

    return {f"{module.name}.py" for module in pkgutil.iter_modules(models.__path__)}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove_empty(folder: Path, run: Path) -> None:
    while folder != run and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
