"""The lines on the screen: what is trained, how far the run is, each evaluation, and the results."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_ruleextrap.costs import duration
from hf_ruleextrap.errors import counted
from hf_ruleextrap.evaluation.table import show as show_evaluation

from .results import Results

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .task import Task

# The number of steps after which the time for the other steps is estimated.
_MEASURED_STEPS = 10
# Without a terminal, a line appears after a tenth of the steps or after this time, but never within the shorter one.
_MOST_SECONDS, _LEAST_SECONDS = 30, 1


class Progress(TrainerCallback):
    """Show a heading, the progress, and one readable line for each evaluation, on the main process only.

    On a terminal the progress is a bar; a log file or a pipe gets lines.

    Args:
        task: The task of the run.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.bar: tqdm[Any] | None = None
        self.first_step = self.tenths = 0
        self.measured_since = self.last_line = 0.0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the heading and open the progress bar."""
        if not state.is_world_process_zero or model is None:
            return
        # disable=None shows the bar on a terminal only.
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", dynamic_ncols=True, disable=None)
        self.first_step, self.tenths = state.global_step, 10 * state.global_step // state.max_steps
        recipe, words = self.task.recipe, len(self.task.splits.train)
        where = str(args.device) + (f", {args.world_size} processes" if args.world_size > 1 else "")
        self._write(
            f"{recipe.language} · {recipe.architecture} · {counted(model.num_parameters(), 'parameter')} · "
            f"seed {recipe.seed} · {where}"
        )
        self._write(
            f"{counted(state.max_steps, 'step')} of {counted(min(recipe.batch_size, words), 'word')}, drawn from "
            f"{words:,}; results go to {recipe.run_dir}"
        )
        if state.global_step:
            self._write(f"resuming from step {state.global_step}")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Show how far the run is."""
        if self.bar is None:
            return
        self.bar.update(state.global_step - self.bar.n)
        now, steps = time.monotonic(), state.global_step - self.first_step
        if steps == 1:
            # The first step is slow: it loads and compiles code.
            self.measured_since = now
            return
        seconds_left = (now - self.measured_since) / (steps - 1) * (state.max_steps - state.global_step)
        if steps == _MEASURED_STEPS and seconds_left > 0:
            self._write(f"about {duration(seconds_left)} for the steps, and more for the evaluations")
        elif self.bar.disable and not control.should_evaluate and self._is_due(state, now):
            self._write(
                f"step {state.global_step:>6}  {state.global_step / state.max_steps:.0%} of the steps, about "
                f"{duration(seconds_left)} left"
            )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the line of an evaluation, or of a run that diverged."""
        if logs and "diverged_at" in logs:
            self._write(f"step {state.global_step:>6}  the validation loss is not finite: the run ends")
        if logs and "eval_loss" in logs:
            self._write(f"step {state.global_step:>6}  {summary(logs)}")
            if self.bar is not None:
                self.tenths = 10 * state.global_step // state.max_steps

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the progress bar."""
        if self.bar is not None:
            self.bar.close()

    def _is_due(self, state: TrainerState, now: float) -> bool:
        """Return whether the next line about the progress is due."""
        tenths, silence = 10 * state.global_step // state.max_steps, now - self.last_line
        if state.global_step == state.max_steps or silence < _LEAST_SECONDS:
            return False
        if tenths > self.tenths or silence >= _MOST_SECONDS:
            self.tenths = tenths
            return True
        return False

    def _write(self, line: str) -> None:
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
            self.last_line = time.monotonic()


def summary(logs: dict[str, float]) -> str:
    """Format the most informative numbers of an evaluation as one line."""
    names = {
        "eval_loss": "validation loss {:.4f}",
        "eval_id_r1": "ID R1 {:.2f}",
        "eval_id_r2": "R2 {:.2f}",
        "eval_id_finished": "finished {:.2f}",
        "eval_ood_r1": "| OOD R1 {:.2f}",
        "eval_ood_finished": "finished {:.2f}",
    }
    return "  ".join(form.format(logs[name]) for name, form in names.items() if name in logs)


def show_results(results: Results) -> None:
    """Print the rates of the described checkpoint, some completions, and the next command."""
    recipe, training = results.recipe, results.training
    fitted = ", ".join(f"{key} {value}" for key, value in training.fitted.items())
    print(
        f"\n{recipe.language} · {recipe.architecture} · {training.parameters:,} parameters"
        + (f" ({fitted})" if fitted else "")
        + f" · seed {recipe.seed} · {counted(training.steps, 'step')} in {results.timing.train_seconds:.0f} s"
    )
    if training.diverged_at is not None:
        source = f"checkpoint of step {training.chosen_step}" if training.chosen_step else "untrained model"
        print(f"diverged at step {training.diverged_at} (the validation loss is not finite); results of the {source}")
    learned = "never" if training.learned_at is None else f"at step {training.learned_at}"
    is_lost = training.learned_at is not None and not training.learned
    print(f"learned the language: {learned}" + ("; this checkpoint does not meet the criterion" if is_lost else ""))
    floor = "" if results.test.floor is None else f" (entropy of the language's distribution: {results.test.floor:.4f})"
    print(
        f"loss per token: validation {results.validation.loss:.4f} (step {training.chosen_step}), "
        f"test {results.test.loss:.4f}{floor}; next-token accuracy {results.test.accuracy:.3f}"
    )
    show_evaluation(results.chosen, f"{training.chosen_name}: {recipe.run_dir}")
    print(f"next: hf-ruleextrap evaluate --model {recipe.run_dir} --language {recipe.language}")
