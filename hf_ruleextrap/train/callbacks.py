"""Trainer callbacks: the log, Ctrl-C with a checkpoint, whether the model has learned, and the costs of a stream."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_ruleextrap.evaluation.likelihood import Likelihood
from hf_ruleextrap.files import write_text
from hf_ruleextrap.tokenization import EOS_ID, SPECIAL_TOKENS


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


LEAST_ID_R1 = 0.95
"""The smallest rate of the first rule on ID prompts of a model that has learned its language."""

MOST_EXCESS = 0.1
"""The largest excess validation loss of a model that has learned its language, in nats per token.

A tenth of a nat is a factor of 1.1 between the true probability of a symbol and the model's, on average. A model that
completes ID prompts correctly can still have a larger excess: it has memorized some of the training words, and assigns
almost no probability to the words that were held out.
"""


def meets_criterion(rates: dict[str, float], validation: Likelihood) -> bool:
    """Return whether a model meets the criterion at one evaluation.

    The criterion: the first rule holds on at least `LEAST_ID_R1` of the ID prompts, all completions of ID prompts are
    finished, and the excess validation loss is at most `MOST_EXCESS`. A language whose entropy is unknown has no excess
    loss, so that only the first two conditions apply.

    Args:
        rates: The rates of an evaluation by name; see `Evaluation.rates`.
        validation: The likelihood of the validation words.

    >>> rates = {"id_r1": 0.96, "id_finished": 1.0}
    >>> meets_criterion(rates, Likelihood(loss=0.3, accuracy=0.9, tokens=100, floor=0.25, excess=0.05))
    True
    >>> meets_criterion(rates, Likelihood(loss=0.7, accuracy=0.9, tokens=100, floor=0.25, excess=0.45))
    False
    """
    is_close = validation.excess is None or validation.excess <= MOST_EXCESS
    return rates.get("id_r1", 0) >= LEAST_ID_R1 and rates.get("id_finished", 0) == 1 and is_close


class Learning(Recorder):
    """Record when the model has learned, and end the training a number of evaluations later.

    The state is part of each checkpoint, so that a resumed run learns and ends at the same steps.

    Args:
        stop_after: The number of evaluations after learning at which the training ends; None if learning does not end
            the training.

    Attributes:
        learned_at: The step of the first of two consecutive evaluations that meet the criterion; None before.
        evaluations: The number of evaluations after ``learned_at``.
        met_at: The step of the latest evaluation if it met the criterion; otherwise None.
        is_over: Whether the training ends here.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.learned_at: int | None = None
        self.evaluations = 0
        self.met_at: int | None = None
        self.is_over = False

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Read whether the evaluation met the criterion. The training never ends at an evaluation that did not."""
        is_met = bool((metrics or {}).get("eval_learned"))
        if self.learned_at is not None:
            self.evaluations += 1
        elif is_met and self.met_at is not None:
            self.learned_at, self.evaluations = self.met_at, 1
        self.met_at = state.global_step if is_met else None
        if self.stop_after is not None and is_met and self.evaluations >= self.stop_after:
            self.is_over = control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint holds."""
        names = ("learned_at", "evaluations", "met_at", "is_over")
        return {"args": {"stop_after": self.stop_after}, "attributes": {name: getattr(self, name) for name in names}}


class Meter(Recorder):
    """Sum the negative log-probability of each batch. The sums are part of each checkpoint.

    A model's vocabulary also holds tokens that no word contains, such as PAD. The probabilities are taken among the
    symbols and the end of a word alone, so that a model that knows nothing pays log(k + 1) for each token.

    Args:
        symbols: The number k of symbols of the alphabet.

    Attributes:
        nats: The cost of each batch so far, summed over all processes, in nats.
    """

    def __init__(self, symbols: int = 0) -> None:
        self.symbols = symbols
        self.nats: list[float] = []
        self._batch: torch.Tensor | None = None

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a part of the batch.

        Args:
            logits: (B, T, vocabulary).
            labels: (B, T) int64, shifted; -100 marks a position without a label.
        """
        first = len(SPECIAL_TOKENS)
        scores = logits.detach().double()
        # EOS, and the symbols behind the special tokens.
        kept = torch.cat([scores[..., EOS_ID, None], scores[..., first : first + self.symbols]], dim=-1)
        targets = torch.where(labels >= first, labels - first + 1, torch.where(labels == EOS_ID, 0, -100))
        cost = nn.functional.cross_entropy(kept.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
        self._batch = cost if self._batch is None else self._batch + cost

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Close the batch."""
        assert self._batch is not None
        if args.world_size > 1:
            torch.distributed.all_reduce(self._batch)
        self.nats.append(float(self._batch))
        self._batch = None

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint holds."""
        return {"args": {"symbols": self.symbols}, "attributes": {"nats": self.nats}}
