"""The Hugging Face Trainer, with our batches, our objectives, and our evaluation as its own."""

from __future__ import annotations

import math
from collections.abc import Callable
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

from .batches import Batches, BatchLoader, TokenRows, by_length
from .callbacks import Interrupt, JsonLog, Progress
from .checkpoints import Seal
from .folder import LOG
from .optimizers import BY_THE_TRAINER, build_muon
from .recipe import Recipe
from .task import Task
from .trackers import PROJECT, check_tracker


class RuleTrainer(Trainer):
    """The Trainer on a task; what it evaluates is exact validation loss, and the prompts completed and scored.

    Attributes:
        diverged_at: the step of an evaluation whose loss was not finite, which ended the training; else None.
    """

    def __init__(self, model: PreTrainedModel, task: Task, arguments: TrainingArguments) -> None:
        recipe = task.recipe
        self.interrupt = Interrupt()
        self.diverged_at: int | None = None
        callbacks: list[TrainerCallback] = [Progress(), JsonLog(recipe.run_dir / LOG), Seal(), self.interrupt]
        if recipe.patience is not None:
            callbacks.append(EarlyStoppingCallback(recipe.patience))
        self.task = task
        # A model that looks ahead sees the padding behind a word, so every batch has to have the same.
        full = recipe.loss_on_padding or looks_ahead(model)
        self.groups_rows = not (full or depends_on_other_rows(model))
        train, validation = (
            TokenRows(task.rows(split, full=full), keep_padding=recipe.loss_on_padding, keep_width=full)
            for split in ("train", "validation")
        )
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=train,
            # Never read: `evaluate` is ours. The Trainer asks that there be one.
            eval_dataset=validation,
            processing_class=task.tokenizer,
            compute_loss_func=cross_entropy,
            callbacks=callbacks,
        )
        # Our labels stand at the token before them already, so the Trainer counts all of them.
        self._loss_shifts_labels = False
        self.remove_callback(PrinterCallback)
        completed = task.completed_prompts()
        self.completed: dict[str, torch.Tensor] | None = None
        if completed is not None:
            ids, labels = (torch.from_numpy(part).to(self.args.device) for part in completed)
            self.completed = {"input_ids": ids[:, :-1], "labels": labels[:, 1:]}

    @property
    def words(self) -> TokenRows:
        """The training set."""
        assert isinstance(self.train_dataset, TokenRows)
        return self.train_dataset

    def get_train_dataloader(self) -> DataLoader[dict[str, torch.Tensor]]:
        """Batches that are the same for any number of processes, each of which has its share of all."""
        recipe, arguments = self.task.recipe, self.args
        batches = Batches(
            len(self.words),
            recipe.batch_size,
            seed=recipe.seed,
            process=arguments.process_index,
            processes=arguments.world_size,
        )
        return BatchLoader(self.words, batches)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Matrices alone, or all parameters, as the recipe says."""
        if self.task.recipe.decay_all:
            return [name for name, _ in model.named_parameters()]
        return list(super().get_decay_parameter_names(model))

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The optimizer of the recipe."""
        recipe, made = self.task.recipe, self.model if model is None else model
        if self.optimizer is None and recipe.optimizer == "muon":
            assert isinstance(made, PreTrainedModel)
            decayed = set(self.get_decay_parameter_names(made))
            self.optimizer = build_muon(made, decayed, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """The schedule of the recipe, over steps or over epochs."""
        recipe = self.task.recipe
        unit = -(-len(self.words) // recipe.batch_size) if recipe.schedule_per == "epoch" else 1
        made = self.lr_scheduler is None
        scheduler = super().create_scheduler(-(-num_training_steps // unit), optimizer)
        if made and unit > 1:
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
        """The loss of a batch, computed in groups of words of similar length: the same loss, and less padding.

        A batch stays whole where a word's outputs depend on what stands behind it or beside it. With another objective
        than the likelihood, the mean loss of the completed prompts is added, at every step (arXiv 2409.13728, the case
        study of a^n b^n).
        """
        if return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        parts = by_length(inputs, self.words.rows.shape[1] - 1) if self.groups_rows else [inputs]
        # Each part's loss is its sum over the number of tokens of the whole batch.
        count = (inputs["labels"] != -100).sum() if num_items_in_batch is None else num_items_in_batch
        loss = torch.stack([self._loss(model, part, count) for part in parts]).sum()
        return loss if self.completed is None else loss + self._loss(model, self.completed, None)

    def _loss(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], count: torch.Tensor | int | None
    ) -> torch.Tensor:
        """The Trainer's own loss; it takes the labels out of the dictionary, so it gets a copy."""
        loss = super().compute_loss(model, dict(inputs), num_items_in_batch=count)
        assert isinstance(loss, torch.Tensor)
        return loss

    # What is evaluated is the task, so the arguments of the Trainer are not read.
    def evaluate(self, *_: object, metric_key_prefix: str = "eval", **__: object) -> dict[str, float]:
        """Validation loss and accuracy, and the rates on the ID and OOD prompts."""
        model = self.accelerator.unwrap_model(self.model)
        found = self.task.likelihood(model, "validation")
        if not math.isfinite(found.loss):
            return self._end_diverged({f"{metric_key_prefix}_loss": found.loss})
        rates = self.task.evaluate(model, self.accelerator).rates()
        values = {"loss": found.loss, "token_accuracy": found.accuracy, **rates, **self.task.masses(model)}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _end_diverged(self, metrics: dict[str, float]) -> dict[str, float]:
        """End the training, and save nothing more: no later step can repair weights that are not finite."""
        self.diverged_at = self.state.global_step
        self.log({"diverged_at": self.diverged_at})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.control.should_training_stop, self.control.should_save = True, False
        return metrics


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """What the recipe says, in the Trainer's words.

    Raises:
        RuleExtrapError: a tracker or a precision that this machine has not.
    """
    check_tracker(recipe.report_to)
    try:
        arguments = TrainingArguments(
            output_dir=str(recipe.run_dir),
            seed=recipe.seed,
            data_seed=recipe.seed,
            max_steps=recipe.max_steps,
            optim=BY_THE_TRAINER.get(recipe.optimizer, "adamw_torch"),
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
            # `Seal` removes what is not needed, once the new checkpoint is sealed; the Trainer would do so before.
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
            # The same after a break, so that a tracker goes on with the run.
            run_name=recipe.run_dir.name,
        )
    except (ValueError, RuntimeError) as error:
        raise RuleExtrapError(f"this machine cannot train so: {' '.join(str(error).split())}") from error
    # The recipe's batch is that of all processes together.
    arguments.per_device_train_batch_size = -(-recipe.batch_size // arguments.world_size)
    return arguments


def _every(unit: int, factor: Callable[[int], float]) -> Callable[[int], float]:
    """A schedule that counts so many steps as one."""
    return lambda step: factor(step // unit)


def cross_entropy(
    outputs: ModelOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """The loss of labels that stand at the token before them, whatever a model's own loss would be.

    Args:
        outputs: with ``logits`` (B, T, vocabulary).
        labels: (B, T) int64, -100 where there is none.
        num_items_in_batch: what the sum over the labels is divided by; by default the number of labels.

    Returns:
        () float32, the mean cross-entropy in nats.
    """
    logits = outputs["logits"]
    count = None if num_items_in_batch is None else torch.as_tensor(num_items_in_batch, device=logits.device)
    return ForCausalLMLoss(logits, labels, logits.shape[-1], count, shift_labels=labels.contiguous())
