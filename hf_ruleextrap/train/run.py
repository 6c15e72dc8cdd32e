"""One run: from a recipe to a folder with checkpoint, log and results."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import Dataset
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from hf_ruleextrap.architectures import build_model, fit_parameters
from hf_ruleextrap.completers import LocalModel
from hf_ruleextrap.data import Splits
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluation, Evaluator
from hf_ruleextrap.evaluation.likelihood import Likelihood, divergence, likelihood, token_rows
from hf_ruleextrap.evaluation.mass import check_size, exact_mass
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.formal.words import IntArray
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.tokenization import PAD_ID, SPECIAL_TOKENS, build_tokenizer

from .callbacks import JsonLog, Progress
from .recipe import Recipe, splits_of
from .results import PaperColumns, Results, Timing, Training, git_commit, package_versions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A group of rows is worth its own pass from so many tokens and pads on; and no more groups than these.
_GROUP_CELLS, _MOST_GROUPS = 4096, 8

# The Trainer's names for the optimizers of a recipe.
_OPTIMIZERS = {name: name for name in ("sgd", "adafactor", "adagrad", "rmsprop")} | {"adamw": "adamw_torch"}

LAST = "last"
"""The folder of the last checkpoint, inside the run folder (which is itself the best one)."""


def run(recipe: Recipe, *, overwrite: bool = False) -> Results:
    """Train, evaluate, and leave a run folder behind.

    The folder is itself the checkpoint with the lowest validation loss, ready for ``from_pretrained``; beside it stand
    ``results.json``, ``log.jsonl``, ``recipe.yaml``, and the last checkpoint in ``last/``. A run that was cut off goes
    on from its latest checkpoint when it is called again.

    Args:
        recipe: what to do.
        overwrite: remove what the run folder holds.

    Raises:
        RuleExtrapError: anything in the recipe that cannot be had, or a run folder that holds another run; before any
            work is done.
    """
    task = Task.of(recipe)
    fitted = fitted_fields(recipe, task.language)
    fields = {**recipe.model, **fitted}
    model = build_model(recipe.architecture, language=task.language, size=recipe.size, seed=recipe.seed, **fields)
    arguments = training_arguments(recipe)
    with arguments.main_process_first(local=False, desc="claiming the run folder"):
        checkpoint = claim(recipe, overwrite=overwrite and arguments.process_index == 0)
    trainer = RuleTrainer(model, task, arguments)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    trained = time.perf_counter()
    results = _finish(trainer, task, fitted)
    results.timing.train_seconds = round(trained - started, 2)
    results.timing.evaluate_seconds = round(time.perf_counter() - trained, 2)
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        results.write(recipe.run_dir)
        for folder in recipe.run_dir.glob("checkpoint-*"):
            shutil.rmtree(folder)
    return results


@dataclass(frozen=True)
class Task:
    """What a recipe trains on and is measured by."""

    recipe: Recipe
    language: Language
    splits: Splits
    tokenizer: PreTrainedTokenizerBase
    evaluator: Evaluator

    @classmethod
    def of(cls, recipe: Recipe) -> Task:
        """Make the data and the prompts.

        Raises:
            RuleExtrapError: unknown language, too small a length, no prompts.
        """
        language = get_language(recipe.language, paper=recipe.paper)
        if recipe.mass_length is not None:
            check_size(language, 1, recipe.mass_length)
        splits = splits_of(recipe, language)
        evaluator = Evaluator(
            language,
            prompt_length=recipe.prompt_length,
            max_new_symbols=recipe.completion_limit,
            train_words=splits.train,
            seed=recipe.seed,
        )
        return cls(recipe, language, splits, build_tokenizer(language), evaluator)

    def rows(self, split: str) -> IntArray:
        """Token ids of a split; as wide as the longest word may be where PAD counts, else as the longest one is."""
        return self._rows(split, padded=self.recipe.loss_on_padding)

    def _rows(self, split: str, *, padded: bool) -> IntArray:
        width = self.recipe.max_length + 2 if padded else None
        return token_rows(getattr(self.splits, split), self.language, width=width)

    def likelihood(self, model: PreTrainedModel, split: str, *, padded: bool | None = None) -> Likelihood:
        """Loss and accuracy on a split; PAD counts where it is asked for, by default as in the recipe."""
        padded = self.recipe.loss_on_padding if padded is None else padded
        words: WordBatch = getattr(self.splits, split)
        found = likelihood(model, self._rows(split, padded=padded), count_padding=padded)
        known = self.language.log_probability(words, self.recipe.max_length)
        return found if known is None else replace(found, floor=float(-known.sum() / found.tokens))

    def masses(self, model: PreTrainedModel) -> dict[str, float]:
        """The exact cell masses, where the recipe asks for them."""
        length = self.recipe.mass_length
        if length is None:
            return {}
        mass = exact_mass(model, self.language, max_length=length)
        return {f"mass_{name}": value for name, value in {**mass.cells, "impossible": mass.impossible}.items()}

    def evaluate(self, model: PreTrainedModel) -> Evaluation:
        """Rule extrapolation of a model."""
        return self.evaluator(LocalModel(model, self.language))


class TokenRows(Dataset[dict[str, torch.Tensor]]):
    """All words as one tensor; a batch is one indexing, cut to its longest word.

    Args:
        rows: (N, T) token ids.
        keep_padding: PAD is a target and nothing is cut.
    """

    def __init__(self, rows: IntArray, *, keep_padding: bool) -> None:
        self.rows = torch.from_numpy(rows)
        self.widths = (self.rows != PAD_ID).sum(dim=1)
        self.keep_padding = keep_padding

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """The batch of some rows."""
        if self.keep_padding:
            ids = self.rows[rows]
            return {"input_ids": ids, "labels": ids}
        ids = self.rows[rows, : int(self.widths[rows].max())]
        return {"input_ids": ids, "labels": ids.masked_fill(ids == PAD_ID, -100)}


def by_length(batch: dict[str, torch.Tensor], width: int) -> list[dict[str, torch.Tensor]]:
    """A batch as groups of rows of similar length, each as wide as its longest row.

    Args:
        batch: ``input_ids`` and ``labels``, (B, T) int64, -100 behind each word.
        width: of the longest row that there is. It and B alone decide how many groups there are, so that all
            processes run the model equally often.

    >>> labels = torch.tensor([[1, 3, 4, 2], [1, 2, -100, -100]])
    >>> [part["labels"].shape for part in by_length({"input_ids": labels, "labels": labels}, 20_000)]
    [torch.Size([1, 2]), torch.Size([1, 4])]
    """
    labels = batch["labels"]
    groups = min(_MOST_GROUPS, len(labels), len(labels) * width // _GROUP_CELLS)
    if groups <= 1:
        return [batch]
    lengths = (labels != -100).sum(dim=1)
    parts = lengths.argsort(stable=True).tensor_split(groups)
    return [{name: value[rows, : int(lengths[rows].max())] for name, value in batch.items()} for rows in parts]


def _every(unit: int, factor: Callable[[int], float]) -> Callable[[int], float]:
    """A schedule that counts so many steps as one."""
    return lambda step: factor(step // unit)


def _targets(batch: dict[str, torch.Tensor]) -> int:
    """How many tokens are predicted."""
    return int((batch["labels"][:, 1:] != -100).sum())


class RuleTrainer(Trainer):
    """The Trainer, with our evaluation as its own: exact validation loss, and the prompts completed and scored."""

    def __init__(self, model: PreTrainedModel, task: Task, arguments: TrainingArguments) -> None:
        recipe = task.recipe
        callbacks: list[TrainerCallback] = [Progress(), JsonLog(recipe.run_dir / "log.jsonl")]
        if recipe.patience is not None:
            callbacks.append(EarlyStoppingCallback(recipe.patience))
        self.task = task
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=TokenRows(task.rows("train"), keep_padding=recipe.loss_on_padding),
            # Never read: `evaluate` is ours. The Trainer asks that there be one.
            eval_dataset=TokenRows(task.rows("validation"), keep_padding=recipe.loss_on_padding),
            data_collator=_as_it_is,  # type: ignore[arg-type]  # `__getitems__` has made the batch
            processing_class=task.tokenizer,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """The schedule of the recipe, over steps or over epochs."""
        words, batch = self.train_dataset, self.args.train_batch_size * self.args.world_size
        assert isinstance(words, TokenRows)
        unit = -(-len(words) // batch) if self.task.recipe.schedule_per == "epoch" else 1
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
        """The loss of a batch, computed in groups of words of similar length: the same loss, and less padding."""
        data, whole = self.train_dataset, super().compute_loss
        assert isinstance(data, TokenRows)
        parts = [inputs] if return_outputs or data.keep_padding else by_length(inputs, data.rows.shape[1])
        if len(parts) == 1:
            return whole(model, inputs, return_outputs, num_items_in_batch)
        if not self.model_accepts_loss_kwargs:
            num_items_in_batch = None
        total = inputs["labels"].new_zeros((), dtype=torch.float32)
        for part in parts:
            loss = whole(model, part, num_items_in_batch=num_items_in_batch)
            # Either a sum over the number of tokens of the whole batch already, or a mean over the part's own.
            share = 1.0 if num_items_in_batch is not None else _targets(part) / _targets(inputs)
            total = total + loss * share  # type: ignore[operator]  # without outputs it is a tensor
        return total

    # What is evaluated is the task, so the arguments of the Trainer are not read.
    def evaluate(self, *_: object, metric_key_prefix: str = "eval", **__: object) -> dict[str, float]:
        """Validation loss and accuracy, and the rates on the ID and OOD prompts."""
        model = self.accelerator.unwrap_model(self.model)
        found = self.task.likelihood(model, "validation")
        rates = self.task.evaluate(model).rates()
        values = {"loss": found.loss, "token_accuracy": found.accuracy, **rates, **self.task.masses(model)}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def fitted_fields(recipe: Recipe, language: Language) -> dict[str, Any]:
    """The fields of the model's config that the recipe's budget of parameters decides."""
    if recipe.parameters is None:
        return {}
    vocabulary = len(SPECIAL_TOKENS) + len(language.alphabet)
    return fit_parameters(
        recipe.architecture, recipe.parameters, size=recipe.size, vocab_size=vocabulary, overrides=recipe.model
    )


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """What the recipe says, in the Trainer's words."""
    return TrainingArguments(
        output_dir=str(recipe.run_dir),
        seed=recipe.seed,
        data_seed=recipe.seed,
        max_steps=recipe.max_steps,
        per_device_train_batch_size=recipe.batch_size,
        optim=_OPTIMIZERS[recipe.optimizer],
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler,
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        eval_strategy="steps",
        eval_steps=recipe.eval_steps,
        save_strategy="steps",
        save_steps=recipe.eval_steps,
        # The best and the latest; with 1, the Trainer would drop the latest at the end.
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        logging_strategy="steps",
        logging_steps=recipe.eval_steps,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        use_cpu=recipe.use_cpu,
        report_to=recipe.report_to,
    )


def claim(recipe: Recipe, *, overwrite: bool = False) -> str | None:
    """Make the run folder this recipe's own.

    Returns:
        The checkpoint to go on from, where this very run was cut off there.

    Raises:
        RuleExtrapError: the folder holds a finished run, another run, or other files.
    """
    folder, note = recipe.run_dir, recipe.run_dir / "recipe.yaml"
    advice = "give another --output_dir, or --overwrite to replace it"
    if overwrite and note.exists():
        shutil.rmtree(folder)
    if folder.exists() and not folder.is_dir():
        raise RuleExtrapError(f"{folder} is a file: give another --output_dir")
    if note.exists():
        held = Recipe.from_file(note)
        described = f"{held.language} {held.architecture} seed {held.seed}"
        if (folder / "results.json").exists():
            raise RuleExtrapError(f"{folder} already holds a finished run ({described}): {advice}")
        if held != recipe:
            keys = [key for key in Recipe.model_fields if getattr(held, key) != getattr(recipe, key)]
            raise RuleExtrapError(
                f"{folder} already holds another run ({described}; it differs in {', '.join(keys)}): {advice}"
            )
        return get_last_checkpoint(str(folder))
    if folder.exists() and any(folder.iterdir()):
        raise RuleExtrapError(f"{folder} is not empty and holds no run: give another --output_dir")
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "recipe.yaml.part"
    draft.write_text(recipe.to_yaml(), encoding="utf-8")
    draft.replace(note)
    return None


def save(model: PreTrainedModel, task: Task, folder: Path) -> None:
    """A checkpoint as others want it: weights, config, tokenizer, and our modeling code where it needs it."""
    # The Trainer switches the cache off for training.
    model.config.use_cache = True
    if model.generation_config is not None:
        model.generation_config.max_new_tokens = task.recipe.completion_limit + 1
    model.save_pretrained(folder)
    task.tokenizer.save_pretrained(folder)


def _finish(trainer: RuleTrainer, task: Task, fitted: dict[str, Any]) -> Results:
    """Evaluate the best and the last checkpoint, and save both."""
    recipe, state = task.recipe, trainer.state
    # Every run evaluates at its last step, if not before.
    assert state.best_global_step is not None
    best: PreTrainedModel = trainer.accelerator.unwrap_model(trainer.model)
    last = type(best).from_pretrained(recipe.run_dir / f"checkpoint-{state.global_step}")
    last.to(best.device)  # type: ignore[arg-type]  # the library's annotation lacks self
    if trainer.is_world_process_zero():
        save(best, task, recipe.run_dir)
        save(last, task, recipe.run_dir / LAST)
        (recipe.run_dir / "training_args.bin").unlink(missing_ok=True)
    words: dict[str, Any] = {
        f"{name}_words": len(getattr(task.splits, name)) for name in ("train", "validation", "test")
    }
    return Results(
        recipe=recipe,
        training=Training(
            parameters=best.num_parameters(),
            steps=state.global_step,
            best_step=state.best_global_step,
            fitted=fitted,
            stopped_early=state.global_step < recipe.max_steps,
            **words,
        ),
        validation=task.likelihood(best, "validation"),
        test=task.likelihood(best, "test"),
        test_without_padding=task.likelihood(best, "test", padded=False),
        test_with_padding=task.likelihood(best, "test", padded=True),
        divergence=divergence(best, task.language, max_length=recipe.max_length),
        best=task.evaluate(best),
        last=task.evaluate(last),
        paper=PaperColumns.from_log(recipe.run_dir / "log.jsonl", state.best_global_step),
        versions=package_versions(),
        git_commit=git_commit(),
        timing=Timing(
            train_seconds=0,
            evaluate_seconds=0,
            processes=trainer.args.world_size,
            device=str(best.device),
            threads=torch.get_num_threads(),
        ),
    )


def _as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return batch
