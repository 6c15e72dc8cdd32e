"""Checkpoints of a run that may be killed at any moment: which are whole, and whether the training is over."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import EarlyStoppingCallback
from transformers.utils import logging

_SEAL = "sealed.json"
_PREFIX = "checkpoint-"
logger = logging.get_logger("hf_ruleextrap")


class Seal(TrainerCallback):
    """Closes each checkpoint with the digests of its files, so that one that was torn is known."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Once all processes have written what is theirs."""
        if args.world_size > 1:
            import torch.distributed

            torch.distributed.barrier()
        if state.is_world_process_zero:
            seal(Path(str(args.output_dir)) / f"{_PREFIX}{state.global_step}")


def seal(folder: Path) -> None:
    """Note the digest of each file of a checkpoint; the note appears whole or not at all."""
    draft = folder / f"{_SEAL}.part"
    draft.write_text(json.dumps(_digests(folder)), encoding="utf-8")
    draft.replace(folder / _SEAL)


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint is sealed and every file is what it was then."""
    try:
        noted = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    found = _digests(folder)
    return all(found.get(name) == digest for name, digest in noted.items())


def latest_whole(run: Path) -> Path | None:
    """The latest checkpoint that is whole; those that are torn are removed."""
    steps = {int(path.name.removeprefix(_PREFIX)): path for path in run.glob(f"{_PREFIX}*") if _is_step(path)}
    whole = None
    for step in sorted(steps, reverse=True):
        if is_whole(steps[step]):
            whole = whole or steps[step]
        else:
            logger.warning(f"{steps[step]} was cut off while it was written; it is not used")
            shutil.rmtree(steps[step])
    return whole


def _is_step(path: Path) -> bool:
    return path.is_dir() and path.name.removeprefix(_PREFIX).isdigit()


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
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(_SEAL))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
