"""What happens beside a training: a progress line, and a log that survives a kill."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_ruleextrap.files import write_text


class Progress(TrainerCallback):
    """A bar over the steps, and one readable line for each evaluation; on the main process only."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        if state.is_world_process_zero:
            # No bar where nobody watches it (disable=None): a log file or a pipe gets the lines alone.
            self.bar = tqdm(
                total=state.max_steps, initial=state.global_step, unit="step", dynamic_ncols=True, disable=None
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the line."""
        if self.bar is not None and logs and "diverged_at" in logs:
            self.bar.write(
                f"step {state.global_step:>6}  the validation loss is not finite: the run ends", file=sys.stderr
            )
        if self.bar is not None and logs and "eval_loss" in logs:
            self.bar.write(f"step {state.global_step:>6}  {summary(logs)}", file=sys.stderr)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()


class JsonLog(TrainerCallback):
    """``log.jsonl``: a line for each log of the Trainer. A resumed run drops the lines after its checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep what was logged up to the step that the run starts from."""
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
        """Append, timings left out."""
        # The Trainer's closing log holds nothing but timings and means of what was logged before.
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            with self.path.open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": state.global_step, **logs}) + "\n")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after a checkpoint was saved.

    Args:
        step: of the checkpoint.
        folder: the run's.
    """

    def __init__(self, step: int, folder: Path) -> None:
        super().__init__(f"stopped at step {step}, which is saved in {folder}; the same command goes on from there")


class Interrupt(TrainerCallback):
    """The first Ctrl-C ends the step, saves a checkpoint and stops; the second stops at once.

    Several processes are left alone: each would end at a step of its own. They go on from the latest checkpoint.
    """

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Catch the signal meanwhile; only a process's main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop, where it was asked for."""
        if self.asked and args.world_size > 1:
            raise KeyboardInterrupt
        if self.asked:
            control.should_save = control.should_training_stop = True


def summary(logs: dict[str, float]) -> str:
    """The numbers of an evaluation that tell most, in one line."""
    names = {
        "eval_loss": "validation loss {:.4f}",
        "eval_id_r1": "ID R1 {:.2f}",
        "eval_id_r2": "R2 {:.2f}",
        "eval_id_finished": "finished {:.2f}",
        "eval_ood_r1": "| OOD R1 {:.2f}",
        "eval_ood_finished": "finished {:.2f}",
    }
    return "  ".join(form.format(logs[name]) for name, form in names.items() if name in logs)


def _step(line: str) -> int:
    """The step of a log line; of a torn one, a step after any other, so that it is dropped."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 1 << 62
