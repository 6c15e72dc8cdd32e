"""A subclass of the Hugging Face Trainer with this package's batches, objectives and evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.utils.generic import ModelOutput

from hf_ruleextrap.causality import depends_on_other_rows, looks_ahead
from hf_ruleextrap.errors import RuleExtrapError

from .batches import Batches, BatchLoader, TokenRows, by_length, group_cells
from .callbacks import Interrupt, JsonLog, Learning, Meter, meets_criterion
from .checkpoints import Seal
from .console import Progress
from .folder import LOG
from .optimizers import BY_THE_TRAINER, build_muon
from .recipe import Recipe
from .task import Task
from .trackers import PROJECT, check_tracker


class RuleTrainer(Trainer):
    """A Trainer for a task. Its evaluation computes the exact validation loss, and completes and scores the prompts.

    Attributes:
        diverged_at: The step at which a validation loss that was not finite ended the training; otherwise None.
    """

    def __init__(self, model: PreTrainedModel, task: Task, arguments: TrainingArguments) -> None:
        recipe = task.recipe
        self.interrupt = Interrupt()
        self.diverged_at: int | None = None
        callbacks: list[TrainerCallback] = [
            Progress(task),
            JsonLog(recipe.run_dir / LOG),
            Seal(),
            self.interrupt,
            Learning(recipe.stop_when_learned),
        ]
        if recipe.stream:
            callbacks.append(Meter(len(task.language.alphabet)))
        if recipe.patience is not None:
            callbacks.append(EarlyStoppingCallback(recipe.patience))
        self.task = task
        # A model that looks ahead reads the padding after a word, so every batch must be padded to the same width.
        full_width = recipe.loss_on_padding or looks_ahead(model)
        self.groups_rows = not (full_width or depends_on_other_rows(model))
        self.group_cells = group_cells(recipe.architecture)
        train, validation = (
            TokenRows(task.rows(split, full=full_width), keep_padding=recipe.loss_on_padding, keep_width=full_width)
            for split in ("train", "validation")
        )
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=train,
            # The Trainer requires an evaluation set, although the `evaluate` below does not read it.
            eval_dataset=validation,
            processing_class=task.tokenizer,
            compute_loss_func=self._metered if recipe.stream else cross_entropy,
            callbacks=callbacks,
        )
        # The labels are already shifted by one token, so the Trainer must count all of them.
        self._loss_shifts_labels = False
        # A checkpoint holds tied weights once, and the Trainer would report the others as missing when it loads one. A
        # model that does not call `post_init` has no such list.
        model._keys_to_ignore_on_save = set(getattr(model, "all_tied_weights_keys", ()))
        self.remove_callback(PrinterCallback)
        completed = task.completed_prompts()
        self.completed: dict[str, torch.Tensor] | None = None
        if completed is not None:
            ids, labels = (torch.from_numpy(part).to(self.args.device) for part in completed)
            self.completed = {"input_ids": ids[:, :-1], "labels": labels[:, 1:]}

    @property
    def meter(self) -> Meter:
        """The costs of the batches of a stream; the Trainer replaces the object when it resumes a run."""
        return next(callback for callback in self.callback_handler.callbacks if isinstance(callback, Meter))

    def _metered(
        self, outputs: ModelOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Compute the loss, and record what the batch costs before the model learns from it."""
        self.meter.add(outputs["logits"], labels)
        return cross_entropy(outputs, labels, num_items_in_batch)

    @cached_property
    def _operations_of_a_token(self) -> int:
        assert isinstance(self.model, PreTrainedModel)
        return 6 * self.model.num_parameters(exclude_embeddings=True)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return the operations of a batch. The Trainer's own method counts the model's parameters at every step."""
        return self._operations_of_a_token * int(inputs["input_ids"].numel())

    @property
    def words(self) -> TokenRows:
        """The training set."""
        assert isinstance(self.train_dataset, TokenRows)
        return self.train_dataset

    def get_train_dataloader(self) -> DataLoader[dict[str, torch.Tensor]]:
        """Return the batches, which do not depend on the number of processes; each process gets its share of each."""
        recipe, arguments = self.task.recipe, self.args
        batches = Batches(
            len(self.words),
            recipe.batch_size,
            seed=recipe.seed,
            process=arguments.process_index,
            processes=arguments.world_size,
            shuffled=not recipe.stream,
        )
        return BatchLoader(self.words, batches)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Return the names of the parameters with weight decay: the matrices, or all with ``decay_all``."""
        if self.task.recipe.decay_all:
            return [name for name, _ in model.named_parameters()]
        return list(super().get_decay_parameter_names(model))

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """Create the optimizer of the recipe."""
        recipe, trained = self.task.recipe, self.model if model is None else model
        if self.optimizer is None and recipe.optimizer == "muon":
            assert isinstance(trained, PreTrainedModel)
            decayed = set(self.get_decay_parameter_names(trained))
            self.optimizer = build_muon(trained, decayed, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """Create the learning-rate schedule of the recipe, counted in steps or in epochs."""
        recipe = self.task.recipe
        unit = -(-len(self.words) // recipe.batch_size) if recipe.schedule_per == "epoch" else 1
        is_new = self.lr_scheduler is None
        scheduler = super().create_scheduler(-(-num_training_steps // unit), optimizer)
        if is_new and unit > 1:
            assert isinstance(scheduler, LambdaLR)
            scheduler.lr_lambdas = [_every(unit, factor) for factor in scheduler.lr_lambdas]
        return scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Compute the loss of a batch in groups of words of similar length, which needs less padding.

        The loss is the same as that of the whole batch. A batch is not divided if a word's outputs depend on the
        padding after the word or on the other rows. An objective other than the likelihood adds the mean loss of the
        completed prompts at every step (arXiv 2409.13728, the case study of a^n b^n).
        """
        if return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        width = self.words.rows.shape[1] - 1
        parts = by_length(inputs, width, self.group_cells) if self.groups_rows else [inputs]
        # The loss of each group is its summed cross-entropy divided by the number of tokens in the whole batch.
        count = (inputs["labels"] != -100).sum() if num_items_in_batch is None else num_items_in_batch
        loss = torch.stack([self._loss(model, part, count) for part in parts]).sum()
        return loss if self.completed is None else loss + self._loss(model, self.completed, None)

    def _loss(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], count: torch.Tensor | int | None
    ) -> torch.Tensor:
        """Compute the Trainer's own loss on a copy, because the Trainer removes the labels from its inputs."""
        loss = super().compute_loss(model, dict(inputs), num_items_in_batch=count)
        assert isinstance(loss, torch.Tensor)
        return loss

    # The task decides what is evaluated, so the Trainer's arguments are not read.
    def evaluate(self, *_: object, metric_key_prefix: str = "eval", **__: object) -> dict[str, float]:
        """Measure the validation loss and accuracy, and the rates on the ID and OOD prompts."""
        model = self.accelerator.unwrap_model(self.model)
        validation = self.task.likelihood(model, "validation")
        if not math.isfinite(validation.loss):
            return self._end_diverged({f"{metric_key_prefix}_loss": validation.loss})
        rates = self.task.evaluate(model, self.accelerator).rates()
        values = {"loss": validation.loss, "token_accuracy": validation.accuracy, **rates, **self.task.masses(model)}
        if validation.excess is not None:
            values["excess"] = validation.excess
        values["learned"] = float(meets_criterion(rates, validation))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _end_diverged(self, metrics: dict[str, float]) -> dict[str, float]:
        """End the training without another checkpoint, because weights that are not finite stay that way."""
        self.diverged_at = self.state.global_step
        self.log({"diverged_at": self.diverged_at})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.control.should_training_stop, self.control.should_save = True, False
        return metrics


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """Translate a recipe into the Trainer's arguments.

    Raises:
        RuleExtrapError: If the tracker is not installed or the machine does not support the precision.
    """
    check_tracker(recipe.report_to)
    try:
        arguments = TrainingArguments(
            output_dir=str(recipe.run_dir),
            seed=recipe.seed,
            data_seed=recipe.seed,
            max_steps=recipe.max_steps,
            optim=BY_THE_TRAINER.get(recipe.optimizer, BY_THE_TRAINER["adamw"]),
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=recipe.lr_scheduler,
            warmup_steps=recipe.warmup_steps,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            bf16=recipe.precision == "bf16",
            torch_compile=recipe.compile,
            eval_strategy="steps",
            eval_steps=recipe.eval_steps,
            save_strategy="steps",
            save_steps=recipe.eval_steps,
            # `Seal` removes old checkpoints after it has sealed the new one; the Trainer would remove them before.
            save_total_limit=None,
            load_best_model_at_end=True,
            metric_for_best_model="eval_loss",
            greater_is_better=False,
            restore_callback_states_from_checkpoint=True,
            logging_strategy="steps",
            logging_steps=recipe.eval_steps,
            disable_tqdm=True,
            remove_unused_columns=False,
            ddp_find_unused_parameters=False,
            use_cpu=recipe.use_cpu,
            report_to=recipe.report_to,
            project=PROJECT,
            # A resumed run has the same name, so that a tracker continues the run.
            run_name=recipe.run_dir.name,
        )
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise RuleExtrapError(f"this machine cannot train with this recipe: {reason}") from error
    # The recipe's batch size counts the words of all processes together.
    arguments.per_device_train_batch_size = -(-recipe.batch_size // arguments.world_size)
    return arguments


def _every(unit: int, factor: Callable[[int], float]) -> Callable[[int], float]:
    """Return a schedule that advances once every ``unit`` steps."""
    return lambda step: factor(step // unit)


def cross_entropy(
    outputs: ModelOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Compute the cross-entropy of labels that are already shifted; the model's own loss is not used.

    Args:
        outputs: The model's outputs, with ``logits`` (B, T, vocabulary).
        labels: (B, T) int64; -100 marks a position without a label.
        num_items_in_batch: The divisor of the summed loss; the default is the number of labels.

    Returns:
        () float32, the mean cross-entropy in nats.
    """
    logits = outputs["logits"]
    count = None if num_items_in_batch is None else torch.as_tensor(num_items_in_batch, device=logits.device)
    return ForCausalLMLoss(logits, labels, logits.shape[-1], count, shift_labels=labels.contiguous())
