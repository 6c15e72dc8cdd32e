"""Objectives that are added to the likelihood, and optimizers with their parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TINY
from torch.nn.functional import cross_entropy

from hf_ruleextrap import formal
from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.train.optimizers import Muon
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe
from hf_ruleextrap.train.task import Task
from hf_ruleextrap.train.trainer import RuleTrainer, training_arguments


def recipe(folder: Path, **values: Any) -> Recipe:
    return Recipe.of({**TINY, "output_dir": str(folder), **values}, "test")


def trainer_of(settings: Recipe) -> RuleTrainer:
    model = build_model(settings.architecture, language=settings.language, seed=0)
    return RuleTrainer(model, Task.of(settings), training_arguments(settings))


def test_the_completions_of_anbn_are_those_of_the_authors() -> None:
    """The oracle adds | #a - #b | of the rarer symbol, or of b at equal numbers. The adversary adds one more."""
    language = get_language("anbn")
    prompts = language.prompts("ood")
    prompts = prompts.take(prompts.in_headline)
    for added, completer in ((0, formal.oracle), (1, formal.adversary)):
        completions, finished = completer(language, prompts, max_new_symbols=20)
        assert finished.all()
        for prompt, completion in zip(prompts.texts, completions, strict=True):
            surplus = prompt.count("a") - prompt.count("b")
            # The prompts leave out those such as abb, after which every rule is open.
            assert completion == ("b" if surplus >= 0 else "a") * (abs(surplus) + added), prompt


@pytest.mark.parametrize("name", ["ban", "bban", "anbn", "dyck", "anbncn", "csdyck"])
def test_the_adversary_breaks_every_open_rule_after_the_oracle_has_kept_them(name: str) -> None:
    language = get_language(name)
    prompts = language.prompts("ood", limit=60)
    prompts = prompts.take(prompts.in_headline)
    repaired, _ = formal.oracle(language, prompts, max_new_symbols=20)
    broken, finished = formal.adversary(language, prompts, max_new_symbols=20)
    assert finished.any()
    for row in np.flatnonzero(finished):
        open_rules = [rule for rule, is_open in zip(language.rules, prompts.open[row], strict=True) if is_open]
        if len(open_rules) == len(language.rules):
            open_rules = open_rules[:1]
        assert broken[row].startswith(repaired[row])
        for rule in open_rules:
            assert rule.holds([prompts.words[row] + repaired[row]]).all()
            assert not rule.holds([prompts.words[row] + broken[row]]).any()


def test_the_objective_trains_on_the_completion_and_its_end_alone(tmp_path: Path) -> None:
    task = Task.of(recipe(tmp_path, objective="oracle", prompt_length=3))
    completed = task.completed_prompts()
    assert completed is not None
    ids, labels = completed
    text = ["".join("_^$ab"[i] for i in row) for row in ids]
    targets = ["".join("_^$ab"[i] if i >= 0 else "." for i in row) for row in labels]
    assert any(whole.startswith("^baab$") for whole in text)
    for whole, shown in zip(text, targets, strict=True):
        word = whole.strip("^_$")
        assert shown.replace(".", "") == word[3:] + "$"
        assert shown.index((word[3:] + "$")[0]) == 4
    assert Task.of(recipe(tmp_path)).completed_prompts() is None


def test_the_loss_is_the_sum_of_the_likelihood_and_the_objective(tmp_path: Path) -> None:
    losses = {}
    for objective in ("likelihood", "adversarial"):
        trainer = trainer_of(recipe(tmp_path, objective=objective))
        trainer.model.eval()
        batch = trainer.words.__getitems__([0, 1, 2])
        losses[objective] = trainer.compute_loss(trainer.model, batch)
    completed = trainer.completed
    assert completed is not None
    logits = trainer.model(completed["input_ids"]).logits
    objective_loss = cross_entropy(logits.transpose(1, 2), completed["labels"])
    torch.testing.assert_close(losses["adversarial"], losses["likelihood"] + objective_loss)


@pytest.mark.slow
def test_opposite_objectives_have_equal_losses_and_opposite_extrapolation(tmp_path: Path) -> None:
    """The likelihood does not decide the completions of OOD prompts."""
    values = {"max_steps": 300, "eval_steps": 300, "learning_rate": 0.01, "prompt_length": 5}
    results = {
        objective: run_recipe(recipe(tmp_path / objective, objective=objective, **values))
        for objective in ("oracle", "adversarial")
    }
    rates = {
        name: result.last.kinds["ood"].greedy.report.rules["as_equal_bs"].word.all.rate
        for name, result in results.items()
    }
    assert rates["oracle"] > 0.8
    assert rates["adversarial"] < 0.2
    losses = [result.validation.loss for result in results.values()]
    assert abs(losses[0] - losses[1]) < 0.1


def test_muon_updates_the_inner_matrices_and_adamw_the_rest(tmp_path: Path) -> None:
    trainer = trainer_of(recipe(tmp_path, optimizer="muon", architecture="transformer"))
    optimizer = trainer.create_optimizer()
    assert isinstance(optimizer, Muon)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    names_by_optimizer = {
        type(part).__name__: [names[id(p)] for g in part.param_groups for p in g["params"]] for part in optimizer.parts
    }
    assert sorted(names_by_optimizer["AdamW"] + names_by_optimizer["Muon"]) == sorted(names.values())
    assert all(trainer.model.get_parameter(name).ndim == 2 for name in names_by_optimizer["Muon"])
    assert names_by_optimizer["Muon"]
    assert not [name for name in names_by_optimizer["Muon"] if "embed" in name or "lm_head" in name]
    initial = {name: parameter.clone() for name, parameter in trainer.model.named_parameters()}
    trainer.compute_loss(trainer.model, trainer.words.__getitems__([0, 1])).backward()
    optimizer.step()
    updated = [
        name for name, parameter in trainer.model.named_parameters() if not torch.equal(parameter, initial[name])
    ]
    assert set(names_by_optimizer["Muon"]) <= set(updated)


def test_a_schedule_changes_both_parts_of_muon_and_the_state_is_restored(tmp_path: Path) -> None:
    values = {"optimizer": "muon", "architecture": "transformer", "lr_scheduler": "linear", "learning_rate": 0.5}
    trainer = trainer_of(recipe(tmp_path, **values))
    optimizer = trainer.create_optimizer()
    scheduler = trainer.create_scheduler(10)
    for _ in range(4):
        trainer.compute_loss(trainer.model, trainer.words.__getitems__([0, 1])).backward()
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for part in optimizer.parts for group in part.param_groups] == pytest.approx([0.3] * 3)
    state = optimizer.state_dict()
    second_trainer = trainer_of(recipe(tmp_path / "again", **values))
    second_optimizer = second_trainer.create_optimizer()
    second_optimizer.load_state_dict(state)
    assert str(second_optimizer.state_dict()) == str(state)
    assert [group["lr"] for group in second_optimizer.param_groups] == pytest.approx([0.3] * 3)


def test_weight_decay_applies_to_the_parameters_of_the_recipe(tmp_path: Path) -> None:
    trainer = trainer_of(recipe(tmp_path, architecture="transformer"))
    decayed = set(trainer.get_decay_parameter_names(trainer.model))
    trainer = trainer_of(recipe(tmp_path, architecture="transformer", decay_all=True))
    all_names = {name for name, _ in trainer.model.named_parameters()}
    assert set(trainer.get_decay_parameter_names(trainer.model)) == all_names
    assert not [name for name in decayed if "bias" in name]
    assert decayed < all_names
