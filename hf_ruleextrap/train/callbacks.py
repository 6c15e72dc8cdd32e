"""Trainer callbacks: a log that survives a killed process, and Ctrl-C with a checkpoint."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_ruleextrap.files import write_text


class Recorder(TrainerCallback, ExportableState):
    """A callback whose state is part of each checkpoint, so that a resumed run goes on with it."""

    @classmethod
    def of(cls, state: TrainerState) -> Self:
        """Return the callback that a checkpoint's state holds, or a new one."""
        # The keys are the names of the callbacks' classes, although the annotation says otherwise.
        saved: dict[str, Any] = state.stateful_callbacks or {}  # type: ignore[assignment]
        recorder: Self = cls.from_state(saved[cls.__name__]) if cls.__name__ in saved else cls()
        return recorder


class JsonLog(TrainerCallback):
    """Write ``log.jsonl``, one line for each log of the Trainer. A resumed run drops the lines after its checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep the lines up to the step from which the run starts."""
        if state.is_world_process_zero:
            lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
            kept = [line for line in lines if _step(line) <= state.global_step]
            write_text(self.path, "".join(line + "\n" for line in kept))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Append a line, unless the log holds timings."""
        # The Trainer's closing log holds only timings and the means of values that were logged before.
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            with self.path.open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": state.global_step, **logs}) + "\n")


class Interrupted(KeyboardInterrupt):
    """The exception of a Ctrl-C after which a checkpoint was saved.

    Args:
        step: The step of the checkpoint.
        folder: The run folder.
    """

    def __init__(self, step: int, folder: Path) -> None:
        super().__init__(
            f"stopped at step {step}; the checkpoint is saved in {folder}, and the same command resumes the run"
        )


class Interrupt(TrainerCallback):
    """Handle Ctrl-C: the first finishes the step, saves a checkpoint and stops; the second stops immediately.

    A run of several processes stops without a new checkpoint, because each process would stop at a different step. Such
    a run resumes from its latest checkpoint.
    """

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Catch SIGINT within the context. Only the main thread of a process can catch the signal."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous_handler = signal.signal(signal.SIGINT, self._request)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous_handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop the training after a Ctrl-C."""
        if self.requested and args.world_size > 1:
            raise KeyboardInterrupt
        if self.requested:
            control.should_save = control.should_training_stop = True


def _step(line: str) -> int:
    """Return the step of a log line. An incomplete line gets a step after all others, so that the line is dropped."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 1 << 62
