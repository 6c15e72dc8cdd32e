"""Checkpoints of a run that may be killed at any moment: which are whole, and whether the training is over."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import EarlyStoppingCallback
from transformers.utils import logging

from hf_ruleextrap.files import is_leftover, write_text

from .written import CHECKPOINT, checkpoints, step_of

_SEAL = "sealed.json"
logger = logging.get_logger("hf_ruleextrap")


class Seal(TrainerCallback):
    """Closes each checkpoint with the digests of its files, so that one that was torn is known."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Once all processes have written what is theirs."""
        if args.world_size > 1:
            import torch.distributed

            torch.distributed.barrier()
        if state.is_world_process_zero:
            run = Path(str(args.output_dir))
            seal(run / f"{CHECKPOINT}{state.global_step}")
            # Only now: at any moment there is a whole checkpoint whose best one is whole, too.
            _remove_all_but(run, {state.global_step, state.best_global_step})


def seal(folder: Path) -> None:
    """Note the digest of each file of a checkpoint; the note appears whole or not at all."""
    write_text(folder / _SEAL, json.dumps(_digests(folder)))


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint is sealed and every file is what it was then."""
    try:
        noted = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    found = _digests(folder)
    return all(found.get(name) == digest for name, digest in noted.items())


def latest_whole(run: Path) -> Path | None:
    """The latest checkpoint that is whole, as is the best one that it names; what is torn, or later, is removed."""
    whole: dict[int, Path] = {}
    for path in checkpoints(run):
        if is_whole(path):
            whole[step_of(path)] = path
        else:
            logger.warning(f"{path} was cut off while it was written; it is not used")
    for step in sorted(whole, reverse=True):
        best = TrainerState.load_from_json(str(whole[step] / TRAINER_STATE_NAME)).best_global_step
        if best is None or best in whole:
            _remove_all_but(run, {known for known in whole if known <= step})
            return whole[step]
    _remove_all_but(run, set())
    return None


def remove_torn(run: Path) -> None:
    """Remove the checkpoints that are not whole."""
    for path in checkpoints(run):
        if not is_whole(path):
            shutil.rmtree(path, ignore_errors=True)


def _remove_all_but(run: Path, steps: Collection[int | None]) -> None:
    for path in checkpoints(run):
        if step_of(path) not in steps:
            shutil.rmtree(path)


def is_over(state: TrainerState, max_steps: int, patience: int | None) -> bool:
    """Whether a training whose state this is has nothing left to do: all its steps, or its patience, are used up."""
    if state.global_step >= max_steps:
        return True
    # By their classes' names, whatever the annotation says.
    saved: dict[str, Any] = state.stateful_callbacks or {}  # type: ignore[assignment]
    waited = (
        saved.get(EarlyStoppingCallback.__name__, {}).get("attributes", {}).get("early_stopping_patience_counter", 0)
    )
    return patience is not None and waited >= patience


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != _SEAL and not is_leftover(path))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
