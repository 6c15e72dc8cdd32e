"""Checkpoints of a run that may be killed at any moment: which are complete, and whether the training is over."""

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

from .callbacks import Learning
from .folder import CHECKPOINT, checkpoints, step_of

_SEAL = "sealed.json"
logger = logging.get_logger("hf_ruleextrap")


class Seal(TrainerCallback):
    """Seal each checkpoint with the digests of its files, so that an incomplete checkpoint is recognized."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Seal the checkpoint after all processes have written their files."""
        if args.world_size > 1:
            import torch.distributed

            torch.distributed.barrier()
        if state.is_world_process_zero:
            run = Path(str(args.output_dir))
            seal(run / f"{CHECKPOINT}{state.global_step}")
            # Old checkpoints are removed last: at any moment the folder holds a complete checkpoint, and the best
            # checkpoint that it names is complete as well.
            _remove_all_but(run, {state.global_step, state.best_global_step})


def seal(folder: Path) -> None:
    """Write the digest of each file of a checkpoint. The seal is written completely or not at all."""
    write_text(folder / _SEAL, json.dumps(_digests(folder)))


def is_whole(folder: Path) -> bool:
    """Return whether a checkpoint is sealed and none of its files has changed since."""
    try:
        sealed_digests = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    digests = _digests(folder)
    return all(digests.get(name) == digest for name, digest in sealed_digests.items())


def latest_whole(run: Path) -> Path | None:
    """Return the latest complete checkpoint whose best checkpoint is complete too, and remove all unusable checkpoints.

    Incomplete checkpoints and checkpoints after the returned one are removed.
    """
    whole: dict[int, Path] = {}
    for path in checkpoints(run):
        if is_whole(path):
            whole[step_of(path)] = path
        else:
            logger.warning(f"{path} is incomplete, because the process ended while writing it; it is not used")
    for step in sorted(whole, reverse=True):
        best = TrainerState.load_from_json(str(whole[step] / TRAINER_STATE_NAME)).best_global_step
        if best is None or best in whole:
            _remove_all_but(run, {earlier for earlier in whole if earlier <= step})
            return whole[step]
    _remove_all_but(run, set())
    return None


def remove_torn(run: Path) -> None:
    """Remove the incomplete checkpoints of a run folder."""
    for path in checkpoints(run):
        if not is_whole(path):
            shutil.rmtree(path, ignore_errors=True)


def _remove_all_but(run: Path, steps: Collection[int | None]) -> None:
    for path in checkpoints(run):
        if step_of(path) not in steps:
            shutil.rmtree(path)


def is_over(state: TrainerState, max_steps: int, patience: int | None) -> bool:
    """Return whether a training with this state is over: it has used its steps or its patience, or has learned."""
    if state.global_step >= max_steps or Learning.of(state).is_over:
        return True
    # The keys are the names of the callbacks' classes, although the annotation says otherwise.
    saved: dict[str, Any] = state.stateful_callbacks or {}  # type: ignore[assignment]
    waited = (
        saved.get(EarlyStoppingCallback.__name__, {}).get("attributes", {}).get("early_stopping_patience_counter", 0)
    )
    return patience is not None and waited >= patience


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != _SEAL and not is_leftover(path))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
