"""One run: from a recipe to a folder with checkpoint, log and results."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from hf_ruleextrap.architectures import build_model, fit_parameters
from hf_ruleextrap.completers import check_positions
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.likelihood import divergence
from hf_ruleextrap.formal import Language
from hf_ruleextrap.tokenization import SPECIAL_TOKENS
from hf_ruleextrap.versions import git_commit, package_versions

from .callbacks import Interrupted
from .checkpoints import is_over, latest_whole
from .recipe import Recipe
from .results import LengthRates, PaperColumns, Results, Timing, Training
from .task import Task
from .trainer import RuleTrainer, training_arguments

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
    # Now, before somebody edits or commits the code that this process has loaded.
    git_commit()
    task = Task.of(recipe)
    fitted = fitted_fields(recipe, task.language)
    fields = {**recipe.network, **fitted}
    model = build_model(recipe.architecture, language=task.language, size=recipe.size, seed=recipe.seed, **fields)
    _check_positions(model, task)
    arguments = training_arguments(recipe)
    with arguments.main_process_first(local=False, desc="claiming the run folder"):
        checkpoint = claim(recipe, overwrite=overwrite and arguments.process_index == 0)
    trainer = RuleTrainer(model, task, arguments)
    started, computed = time.perf_counter(), time.process_time()
    _train(trainer, checkpoint)
    trained = time.perf_counter()
    results = _finish(trainer, task, fitted)
    results.timing.train_seconds = round(trained - started, 2)
    results.timing.evaluate_seconds = round(time.perf_counter() - trained, 2)
    results.timing.cpu_seconds = round(time.process_time() - computed, 2)
    trainer.accelerator.wait_for_everyone()
    trainer.model_wrapped = trainer.model  # type: ignore[assignment]  # there is a model
    trainer.accelerator.free_memory()
    if trainer.is_world_process_zero():
        results.write(recipe.run_dir)
        for folder in recipe.run_dir.glob("checkpoint-*"):
            shutil.rmtree(folder)
    return results


def _check_positions(model: PreTrainedModel, task: Task) -> None:
    """Refuse a model without positions for the longest word, or for the longest prompt and its completion."""
    recipe, advice = task.recipe, "or give the model more positions, such as --set max_position_embeddings="
    longest = max(recipe.max_length, recipe.mass_length or 0)
    what = f"words of up to {longest} symbols"
    check_positions(model, 1 + longest, what, f"give a smaller max_length or mass_length, {advice}{1 + longest}")
    prompt = max(
        [*(int(prompts.words.lengths.max()) for prompts in task.evaluator.prompts.values()), *recipe.by_length]
    )
    tokens = 1 + prompt + recipe.completion_limit
    what = f"prompts of up to {prompt} symbols with up to {recipe.completion_limit} new ones"
    check_positions(model, tokens, what, f"give a smaller max_new_symbols, {advice}{tokens}")


def _train(trainer: RuleTrainer, checkpoint: Path | None) -> None:
    """Train from a checkpoint, or from nothing; Ctrl-C saves first."""
    recipe = trainer.task.recipe
    if checkpoint is not None:
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        if is_over(state, recipe.max_steps, recipe.patience):
            # Cut off after its last step: the Trainer would take one more.
            trainer.state = state
            return
    with trainer.interrupt.watching():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.interrupt.asked:
        raise Interrupted(trainer.state.global_step, recipe.run_dir)


def fitted_fields(recipe: Recipe, language: Language) -> dict[str, Any]:
    """The fields of the model's config that the recipe's budget of parameters decides."""
    if recipe.parameters is None:
        return {}
    vocabulary = len(SPECIAL_TOKENS) + len(language.alphabet)
    return fit_parameters(
        recipe.architecture, recipe.parameters, size=recipe.size, vocab_size=vocabulary, overrides=recipe.network
    )


def claim(recipe: Recipe, *, overwrite: bool = False) -> Path | None:
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
        # The same folder may be named in several ways.
        names = set(Recipe.model_fields) - {"output_dir"}
        if keys := sorted(key for key in names if getattr(held, key) != getattr(recipe, key)):
            raise RuleExtrapError(
                f"{folder} already holds another run ({described}; it differs in {', '.join(keys)}): {advice}"
            )
        return latest_whole(folder)
    if folder.exists() and any(folder.iterdir()):
        raise RuleExtrapError(f"{folder} is not empty and holds no run: give another --output_dir")
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "recipe.yaml.part"
    draft.write_text(recipe.to_yaml(), encoding="utf-8")
    draft.replace(note)
    return None


def finished(recipe: Recipe) -> Results | None:
    """The results of a recipe whose run folder holds this very run finished, whether or not it is to be published."""
    folder, note = recipe.run_dir, recipe.run_dir / "recipe.yaml"
    if not note.exists() or not (folder / "results.json").exists():
        return None
    published = {"push_to_hub", "hub_organization"}
    held, asked = (one.model_dump(exclude=published) for one in (Recipe.from_file(note), recipe))
    return Results.read(folder) if held == asked else None


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
    recipe, state, accelerator = task.recipe, trainer.state, trainer.accelerator
    # Every run evaluates at its last step, if not before.
    assert state.best_global_step is not None
    kind = type(accelerator.unwrap_model(trainer.model))
    best, last = (
        kind.from_pretrained(recipe.run_dir / f"checkpoint-{step}").to(accelerator.device)
        for step in (state.best_global_step, state.global_step)
    )
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
        best=task.evaluate(best, accelerator),
        last=task.evaluate(last, accelerator),
        by_length=[
            rates for evaluation in task.evaluate_lengths(best, accelerator) for rates in LengthRates.of(evaluation)
        ],
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
