"""Train one run: from a recipe to a run folder with checkpoints, a log and results."""

from __future__ import annotations

import gc
import pickle
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from hf_ruleextrap.architectures import build_model, fit_parameters, list_architectures
from hf_ruleextrap.completers import LocalModel, check_positions
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.likelihood import divergence, token_rows
from hf_ruleextrap.evaluation.prequential import CodeLength, code_length
from hf_ruleextrap.files import replacing_in, writing
from hf_ruleextrap.formal import Language
from hf_ruleextrap.tokenization import SPECIAL_TOKENS
from hf_ruleextrap.versions import git_commit, package_versions

from .callbacks import Interrupted, Learning, Meter, meets_criterion
from .checkpoints import is_over, remove_torn
from .folder import CHECKPOINT, LAST, LOG, RunFolder
from .process import few_threads, kept_memory
from .recipe import Recipe
from .results import LengthRates, PaperColumns, Results, Timing, Training
from .task import Task
from .trainer import RuleTrainer, training_arguments


def run_recipe(recipe: Recipe, *, overwrite: bool = False, wait: bool = False) -> Results:
    """Train and evaluate a recipe, and write its run folder.

    The run folder is the checkpoint that the recipe's ``checkpoint`` chooses, ready for ``from_pretrained``. It also
    holds ``results.json``, ``log.jsonl``, ``recipe.yaml``, and the last checkpoint under ``last/``. A second call
    resumes an interrupted run from its latest checkpoint, and returns the results of a finished run. A run whose loss
    is not finite ends at that step, and its results report the divergence.

    Args:
        recipe: The recipe of the run; ``recipe.run_dir`` is the run folder.
        overwrite: Remove the run that the folder holds, and start again.
        wait: Wait for another process that holds the run folder.

    Returns:
        The results, as in the run folder's ``results.json``.

    Raises:
        RuleExtrapError: Before any training: if the recipe needs something that this machine does not have, if the
            run folder holds another run, or if another process holds the folder. Later: if the disk
            is full.

    >>> from hf_ruleextrap import Recipe, run_recipe
    >>> recipe = Recipe(train_size=8, held_out_size=8, max_length=16, max_steps=2, eval_steps=2, output_dir="my-run")
    >>> results = run_recipe(recipe)
    >>> results.training.steps, (recipe.run_dir / "results.json").exists()
    (2, True)
    """
    folder = RunFolder(recipe.run_dir)
    if not overwrite and (finished_results := folder.finished(recipe)) is not None:
        if PartialState().is_main_process:
            folder.settle(wait=wait)
        return finished_results
    # Read the commit first: somebody may edit or commit the code while this process runs the loaded code.
    git_commit()
    task = Task.of(recipe)
    fitted = fitted_fields(recipe, task.language)
    fields = {**recipe.network, **fitted}

    def build() -> PreTrainedModel:
        language, size, seed = task.language, recipe.size, recipe.seed
        return build_model(recipe.architecture, language=language, size=size, seed=seed, **fields)

    model = build()
    check_task_positions(model, task)
    _check_step(model, task)
    arguments = training_arguments(recipe)
    with ExitStack() as held:
        held.enter_context(few_threads(recipe))
        held.enter_context(kept_memory())
        checkpoint = _claim(folder, recipe, arguments, held, overwrite=overwrite, wait=wait)
        if (finished_results := folder.finished(recipe)) is not None:
            # Another process, which held the folder before, has finished the same run.
            return finished_results
        try:
            with writing(folder.path):
                return _run(RuleTrainer(model, task, arguments), task, checkpoint, fitted, build)
        except RuleExtrapError:
            # A checkpoint that is only half written cannot be used.
            if arguments.process_index == 0:
                remove_torn(folder.path)
            raise


def leave() -> None:
    """Close the process group, if one is open.

    Call this function after the trainer has been deleted: destroying a gloo group while a model is still wrapped hangs.
    """
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _check_step(model: PreTrainedModel, task: Task) -> None:
    """Raise an error for a model type of transformers that cannot be trained on these words or cannot complete them.

    The tests ensure both for the architectures of this package.
    """
    recipe, words = task.recipe, task.splits.train
    if recipe.architecture in list_architectures():
        return
    longest = words.take(words.lengths.argsort()[-2:])
    ids = torch.from_numpy(token_rows(longest, task.language))[:, :-1]
    try:
        with torch.random.fork_rng(devices=[]):
            model(ids, use_cache=False).logits.sum().backward()
            LocalModel(model, task.language).complete(
                task.evaluator.prompts["ood"].take(slice(0, 1)), max_new_symbols=2
            )
    # Each model type raises an exception of its own for lengths or shapes that its layers cannot compute.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RuleExtrapError(
            f"architecture {recipe.architecture!r} cannot run on words of {int(longest.lengths.max())} symbols: "
            f"{reason}; give other values with --set, or another architecture"
        ) from error
    model.zero_grad()


def _claim(
    folder: RunFolder,
    recipe: Recipe,
    arguments: TrainingArguments,
    held: ExitStack,
    *,
    overwrite: bool,
    wait: bool,
) -> Path | None:
    """Hold and claim the run folder in the main process, and send its checkpoint or its error to every process."""
    shared: list[Any] = [None, None]
    if arguments.process_index == 0:
        try:
            held.enter_context(folder.hold(wait=wait))
            with writing(folder.path):
                shared[0] = folder.claim(recipe, overwrite=overwrite)
        except RuleExtrapError as error:
            shared[1] = str(error)
    if arguments.world_size > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(shared)
    if shared[1] is not None:
        raise RuleExtrapError(shared[1])
    checkpoint: Path | None = shared[0]
    return checkpoint


def _run(
    trainer: RuleTrainer,
    task: Task,
    checkpoint: Path | None,
    fitted: dict[str, Any],
    build: Callable[[], PreTrainedModel],
) -> Results:
    """Train and evaluate in a run folder that this process holds."""
    folder = RunFolder(task.recipe.run_dir)
    started, computed = time.perf_counter(), time.process_time()
    _train(trainer, checkpoint)
    trained = time.perf_counter()
    results = _finish(trainer, task, fitted, build)
    results.timing.train_seconds = round(trained - started, 2)
    results.timing.evaluate_seconds = round(time.perf_counter() - trained, 2)
    results.timing.cpu_seconds = round(time.process_time() - computed, 2)
    if trainer.args.world_size > 1:
        trainer.accelerator.wait_for_everyone()
        # `leave` needs a model that is no longer wrapped. Freeing the wrapper is a full garbage collection.
        trainer.model_wrapped = trainer.model  # type: ignore[assignment]  # there is a model
        trainer.accelerator.free_memory()
    if trainer.is_world_process_zero():
        results.write(folder.path)
        folder.clean_up()
    return results


def check_task_positions(model: PreTrainedModel, task: Task) -> None:
    """Raise an error if the model has too few positions for the longest word or the longest prompt and completion."""
    recipe, advice = task.recipe, "or give the model more positions, such as --set max_position_embeddings="
    longest = max(recipe.max_length, recipe.mass_length or 0)
    words = f"words of up to {longest} symbols"
    check_positions(model, 1 + longest, words, f"give a smaller max_length or mass_length, {advice}{1 + longest}")
    prompt = max(
        [*(int(prompts.words.lengths.max()) for prompts in task.evaluator.prompts.values()), *recipe.by_length]
    )
    tokens = 1 + prompt + recipe.completion_limit
    completions = f"prompts of up to {prompt} symbols with up to {recipe.completion_limit} new symbols"
    check_positions(model, tokens, completions, f"give a smaller max_new_symbols, {advice}{tokens}")


def _train(trainer: RuleTrainer, checkpoint: Path | None) -> None:
    """Train from a checkpoint or from the start; Ctrl-C saves a checkpoint first."""
    recipe = trainer.task.recipe
    if checkpoint is not None:
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        if is_over(state, recipe.max_steps, recipe.patience):
            # The run was interrupted after its last step, and the Trainer would take one more step.
            trainer.state = state
            return
    try:
        with trainer.interrupt.watching():
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except pickle.UnpicklingError:
        # torch refuses everything in a checkpoint but tensors and numbers: a pickle can run code.
        raise RuleExtrapError(
            f"{checkpoint} holds something other than the state of a training: remove that folder, or give --overwrite"
        ) from None
    if trainer.interrupt.requested:
        raise Interrupted(trainer.state.global_step, recipe.run_dir)


def fitted_fields(recipe: Recipe, language: Language) -> dict[str, Any]:
    """Return the fields of the model's config that are fitted to the recipe's parameter budget."""
    if recipe.parameters is None:
        return {}
    vocabulary = len(SPECIAL_TOKENS) + len(language.alphabet)
    return fit_parameters(
        recipe.architecture, recipe.parameters, size=recipe.size, vocab_size=vocabulary, overrides=recipe.network
    )


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, folder: Path) -> None:
    """Write a checkpoint: weights, config, tokenizer, and the modeling code if transformers has no such model."""
    # The Trainer disables the cache during training.
    model.config.use_cache = True
    model.generation_config = GenerationConfig.from_model_config(model.config)
    model.generation_config.max_new_tokens = recipe.completion_limit + 1
    # The rates in the results come from greedy completions, so `generate` is greedy by default.
    model.generation_config.do_sample = False
    with replacing_in(folder) as draft:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)


def _code_length(trainer: RuleTrainer, task: Task) -> CodeLength | None:
    """Return the code length of a stream; None for a run on a fixed set of words, and for a run that diverged."""
    recipe = task.recipe
    if not recipe.stream or trainer.diverged_at is not None:
        return None
    nats = Meter.of(trainer.state).nats
    # A run that ended early has not read the whole stream.
    stream = task.splits.train.take(slice(0, len(nats) * recipe.batch_size))
    return code_length(
        nats,
        stream,
        task.language,
        batch_size=recipe.batch_size,
        max_length=recipe.max_length,
        settings=recipe.settings_tried,
    )


def _finish(trainer: RuleTrainer, task: Task, fitted: dict[str, Any], build: Callable[[], PreTrainedModel]) -> Results:
    """Evaluate the best and the last checkpoint, and save the chosen and the last one."""
    recipe, state, accelerator = task.recipe, trainer.state, trainer.accelerator
    folder = RunFolder(recipe.run_dir)
    best_step, last_step = state.best_global_step, state.global_step
    if trainer.diverged_at is not None:
        last_step = folder.last_step()
        best_step = best_step or last_step
    # Every run that did not diverge evaluates at its last step at the latest.
    assert best_step is not None
    load = partial(type(accelerator.unwrap_model(trainer.model)).from_pretrained, use_safetensors=True)
    models = {
        step: (load(folder.path / f"{CHECKPOINT}{step}") if step else build()).to(accelerator.device)
        for step in {best_step, last_step}
    }
    best, last = models[best_step], models[last_step]
    chosen = {"best": best, "last": last}[recipe.checkpoint]
    if trainer.is_world_process_zero():
        save(chosen, task.tokenizer, recipe, folder.path)
        save(last, task.tokenizer, recipe, folder.path / LAST)
        (folder.path / "training_args.bin").unlink(missing_ok=True)
    words: dict[str, Any] = {
        f"{name}_words": len(getattr(task.splits, name)) for name in ("train", "validation", "test")
    }
    of_best = task.evaluate(best, accelerator, "best")
    # A checkpoint that is both the best and the last one is evaluated once.
    of_last = of_best.model_copy(update={"model": "last"})
    if last_step != best_step:
        of_last = task.evaluate(last, accelerator, "last")
    validation, learned_at = task.likelihood(chosen, "validation"), Learning.of(state).learned_at
    is_met = meets_criterion((of_last if recipe.checkpoint == "last" else of_best).rates(), validation)
    return Results(
        recipe=recipe,
        training=Training(
            parameters=chosen.num_parameters(),
            steps=state.global_step,
            best_step=best_step,
            diverged_at=trainer.diverged_at,
            fitted=fitted,
            stopped_early=state.global_step < recipe.max_steps,
            learned_at=learned_at,
            last_step=last_step,
            checkpoint=recipe.checkpoint,
            learned=learned_at is not None and is_met,
            **words,
        ),
        validation=validation,
        test=task.likelihood(chosen, "test"),
        test_without_padding=task.likelihood(chosen, "test", padded=False),
        test_with_padding=task.likelihood(chosen, "test", padded=True),
        code_length=_code_length(trainer, task),
        divergence=divergence(chosen, task.language, max_length=recipe.max_length),
        best=of_best,
        last=of_last,
        by_length=[
            rates for evaluation in task.evaluate_lengths(chosen, accelerator) for rates in LengthRates.of(evaluation)
        ],
        paper=PaperColumns.from_log(folder.path / LOG, best_step),
        versions=package_versions(),
        git_commit=git_commit(),
        timing=Timing(
            train_seconds=0,
            evaluate_seconds=0,
            processes=trainer.args.world_size,
            device=str(chosen.device),
            threads=torch.get_num_threads(),
        ),
    )
