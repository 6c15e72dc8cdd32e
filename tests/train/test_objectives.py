"""Objectives and optimizers: what is added to the likelihood, and who moves which parameters."""

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


def trainer_of(found: Recipe) -> RuleTrainer:
    model = build_model(found.architecture, language=found.language, seed=0)
    return RuleTrainer(model, Task.of(found), training_arguments(found))


def test_completions_of_anbn_are_the_authors() -> None:
    """The oracle adds |#a - #b| of the lacking symbol, the adversary one more; b where nothing lacks."""
    language = get_language("anbn")
    prompts = language.prompts("ood")
    prompts = prompts.take(prompts.in_headline)
    for added, made in ((0, formal.oracle), (1, formal.adversary)):
        completions, finished = made(language, prompts, max_new_symbols=20)
        assert finished.all()
        for prompt, completion in zip(prompts.texts, completions, strict=True):
            surplus = prompt.count("a") - prompt.count("b")
            # Prompts such as abb leave every rule open and are the oracle's alone.
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
    asked = ["".join("_^$ab"[i] if i >= 0 else "." for i in row) for row in labels]
    assert any(whole.startswith("^baab$") for whole in text)
    for whole, shown in zip(text, asked, strict=True):
        word = whole.strip("^_$")
        assert shown.replace(".", "") == word[3:] + "$"
        assert shown.index((word[3:] + "$")[0]) == 4
    assert Task.of(recipe(tmp_path)).completed_prompts() is None


def test_the_loss_is_the_sum_of_both(tmp_path: Path) -> None:
    found = {}
    for objective in ("likelihood", "adversarial"):
        trainer = trainer_of(recipe(tmp_path, objective=objective))
        trainer.model.eval()
        batch = trainer.words.__getitems__([0, 1, 2])
        found[objective] = trainer.compute_loss(trainer.model, batch)
    completed = trainer.completed
    assert completed is not None
    logits = trainer.model(completed["input_ids"]).logits
    more = cross_entropy(logits.transpose(1, 2), completed["labels"])
    torch.testing.assert_close(found["adversarial"], found["likelihood"] + more)


@pytest.mark.slow
def test_equal_test_loss_and_opposite_extrapolation(tmp_path: Path) -> None:
    """The point of the case study: the likelihood does not decide what happens out of distribution."""
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


def test_muon_moves_the_inner_matrices_and_adamw_the_rest(tmp_path: Path) -> None:
    trainer = trainer_of(recipe(tmp_path, optimizer="muon", architecture="transformer"))
    optimizer = trainer.create_optimizer()
    assert isinstance(optimizer, Muon)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    of = {
        type(part).__name__: [names[id(p)] for g in part.param_groups for p in g["params"]] for part in optimizer.parts
    }
    assert sorted(of["AdamW"] + of["Muon"]) == sorted(names.values())
    assert all(trainer.model.get_parameter(name).ndim == 2 for name in of["Muon"])
    assert of["Muon"]
    assert not [name for name in of["Muon"] if "embed" in name or "lm_head" in name]
    before = {name: parameter.clone() for name, parameter in trainer.model.named_parameters()}
    trainer.compute_loss(trainer.model, trainer.words.__getitems__([0, 1])).backward()
    optimizer.step()
    moved = [name for name, parameter in trainer.model.named_parameters() if not torch.equal(parameter, before[name])]
    assert set(of["Muon"]) <= set(moved)


def test_a_schedule_moves_both_parts_of_muon_and_a_state_is_given_back(tmp_path: Path) -> None:
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
    again = trainer_of(recipe(tmp_path / "again", **values))
    other = again.create_optimizer()
    other.load_state_dict(state)
    assert str(other.state_dict()) == str(state)
    assert [group["lr"] for group in other.param_groups] == pytest.approx([0.3] * 3)


def test_what_decays_is_what_the_recipe_says(tmp_path: Path) -> None:
    trainer = trainer_of(recipe(tmp_path, architecture="transformer"))
    some = set(trainer.get_decay_parameter_names(trainer.model))
    trainer = trainer_of(recipe(tmp_path, architecture="transformer", decay_all=True))
    every = {name for name, _ in trainer.model.named_parameters()}
    assert set(trainer.get_decay_parameter_names(trainer.model)) == every
    assert not [name for name in some if "bias" in name]
    assert some < every
