"""Estimate the time that the cells of a grid take, from a few measured steps of each distinct shape."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tqdm.auto import tqdm
from transformers import IntervalStrategy, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.train.console import Progress
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import fitted_fields
from hf_ruleextrap.train.task import Task
from hf_ruleextrap.train.trainer import RuleTrainer, training_arguments

from .grid import Cell

_WARM_UP_STEPS, _MEASURED_STEPS = 2, 5
# The recipe keys that change neither the time of a step nor the time of an evaluation.
_FREE = {
    *("seed", "max_steps", "eval_steps", "train_size", "disjoint", "noise", "learning_rate", "lr_scheduler"),
    *("schedule_per", "warmup_steps", "weight_decay", "decay_all", "max_grad_norm", "patience", "stop_when_learned"),
    *("checkpoint", "output_dir", "push_to_hub", "hub_organization", "report_to"),
}


@dataclass(frozen=True)
class ShapeCost:
    """The cost of the cells of one shape, which differ only in keys that do not affect the time of a step.

    Attributes:
        language, architecture, size, max_length, optimizer: The recipe keys that describe the shape.
        runs: The number of cells.
        step_seconds: Processor seconds per step.
        evaluation_seconds: Processor seconds per evaluation.
        seconds: Processor seconds of all cells, if every run uses all its steps.
    """

    language: str
    architecture: str
    size: str
    max_length: int
    optimizer: str
    runs: int
    step_seconds: float
    evaluation_seconds: float
    seconds: float


def estimate(cells: Iterable[Cell]) -> list[ShapeCost]:
    """Measure one cell of each shape, with a progress bar on a terminal, and return the cost of all cells.

    A run that stops when it has learned takes less than the estimate, which assumes that it uses all its steps.
    """
    shapes: dict[str, list[Recipe]] = {}
    for cell in cells:
        shapes.setdefault(cell.recipe.model_dump_json(exclude=_FREE), []).append(cell.recipe)
    # disable=None shows the bar on a terminal only.
    return [_cost(recipes) for recipes in tqdm(shapes.values(), "measuring", unit="shape", disable=None)]


def _cost(recipes: list[Recipe]) -> ShapeCost:
    recipe = recipes[0]
    setup_seconds, step_seconds, evaluation_seconds = _measure(recipe)
    seconds = 0.0
    for each in recipes:
        # The end of a run evaluates two checkpoints, and one of them at each other prompt length.
        evaluations = each.max_steps / each.eval_steps + 2 + len(each.by_length)
        seconds += setup_seconds + each.max_steps * step_seconds + evaluations * evaluation_seconds
    shape = recipe.language, recipe.architecture, recipe.size, recipe.max_length, recipe.optimizer
    return ShapeCost(*shape, len(recipes), step_seconds, evaluation_seconds, seconds)


def _measure(recipe: Recipe) -> tuple[float, float, float]:
    """Return the processor seconds of a run's setup with its first evaluation, of a step, and of an evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        # A step needs the longest words and no more than a few batches of them.
        words = {"train_size": min(recipe.train_size, 4 * recipe.batch_size), "disjoint": False}
        steps = {"max_steps": _WARM_UP_STEPS + _MEASURED_STEPS, "patience": None}
        measured = recipe.model_copy(update={**words, **steps, "output_dir": folder, "report_to": "none"})
        started = time.process_time()
        task = Task.of(measured)
        fields = {**recipe.network, **fitted_fields(recipe, task.language)}
        model = build_model(recipe.architecture, language=task.language, size=recipe.size, seed=recipe.seed, **fields)
        _evaluate(task, model)
        setup_seconds = time.process_time() - started
        arguments = training_arguments(measured)
        arguments.eval_strategy = arguments.save_strategy = IntervalStrategy.NO
        arguments.load_best_model_at_end = False
        clock = _Clock()
        trainer = RuleTrainer(model, replace(task, recipe=measured), arguments)
        # The heading of a run names a folder that is gone after the measurement.
        trainer.remove_callback(Progress)
        trainer.add_callback(clock)
        trainer.train()
        started = time.process_time()
        _evaluate(task, model)
        evaluation_seconds = time.process_time() - started
    ends = clock.step_ends[_WARM_UP_STEPS - 1 :]
    return setup_seconds, (ends[-1] - ends[0]) / (len(ends) - 1), evaluation_seconds


def _evaluate(task: Task, model: Any) -> None:
    """Do the work of one evaluation."""
    task.evaluate(model)
    task.likelihood(model, "validation")
    task.masses(model)


class _Clock(TrainerCallback):
    """Record the processor time at the end of each step."""

    def __init__(self) -> None:
        self.step_ends: list[float] = []

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Record the time."""
        self.step_ends.append(time.process_time())
