"""Every committed recipe trains every architecture, at the lengths and sizes that it states."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import IntervalStrategy

from hf_ruleextrap import build_model, get_language, list_architectures
from hf_ruleextrap.tokenization import build_tokenizer
from hf_ruleextrap.train.batches import TokenRows
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import check_task_positions
from hf_ruleextrap.train.task import Task, splits_of
from hf_ruleextrap.train.trainer import RuleTrainer, training_arguments

RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))
_ROWS = 2
# What costs time and decides no length, position or width.
SMALL = {
    "batch_size": _ROWS,
    "train_size": 64,
    "held_out_size": 8,
    "max_steps": 2,
    "eval_steps": 2,
    "patience": None,
    "use_cpu": True,
}


@pytest.fixture(scope="module", params=RECIPES, ids=lambda path: path.stem)
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The data and prompts of a recipe, whatever the architecture; without the references, which take minutes."""
    folder = tmp_path_factory.mktemp(request.param.stem)
    # A stream has as many words as its steps need.
    keys = {key: value for key, value in SMALL.items() if request.param.stem != "stream" or key != "train_size"}
    recipe = Recipe.from_file(request.param, {**keys, "output_dir": str(folder)})
    language = get_language(recipe.language, paper=recipe.paper)
    prompts = {kind: language.prompts(kind, length=recipe.prompt_length) for kind in ("id", "ood")}
    evaluator: Any = SimpleNamespace(prompts=prompts)
    return Task(recipe, language, splits_of(recipe, language), build_tokenizer(language), evaluator)


@pytest.mark.parametrize("architecture", list_architectures())
def test_two_steps_of_every_recipe_with_every_architecture(task: Task, architecture: str, tmp_path: Path) -> None:
    recipe = task.recipe.model_copy(update={"architecture": architecture, "output_dir": str(tmp_path)})
    fields = recipe.network
    model = build_model(architecture, language=task.language, size=recipe.size, seed=0, **fields)
    # The prompts, their completions and the longest word find their positions.
    check_task_positions(model, task)
    arguments = training_arguments(recipe)
    # Completing the prompts and saving take most of a run's time, and other tests do both.
    arguments.eval_strategy = arguments.save_strategy = IntervalStrategy.NO
    arguments.load_best_model_at_end = False
    trainer = RuleTrainer(model, replace(task, recipe=recipe), arguments)
    words = trainer.words
    longest = words.widths.argsort(descending=True)[:_ROWS]
    trainer.train_dataset = TokenRows(
        words.rows[longest].numpy(), keep_padding=words.keep_padding, keep_width=words.keep_width
    )
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    trainer.train()
    assert trainer.state.global_step == 2
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert any(not parameter.equal(before[name]) for name, parameter in model.named_parameters())
