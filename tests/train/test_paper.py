"""The recipes of the package, and the parts of the paper that they reproduce."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny import TINY
from transformers import AutoModelForCausalLM, IntervalStrategy

import hf_ruleextrap.models  # noqa: F401  # registers our architectures
from hf_ruleextrap import build_model, formal, get_language, list_architectures
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.formal.words import FOREIGN_CODE
from hf_ruleextrap.models.linear import RuleLinearConfig
from hf_ruleextrap.models.transformer import RuleTransformerConfig
from hf_ruleextrap.tokenization import build_tokenizer
from hf_ruleextrap.train.batches import TokenRows
from hf_ruleextrap.train.recipe import Recipe, add_arguments, from_arguments
from hf_ruleextrap.train.run import check_task_positions, run_recipe
from hf_ruleextrap.train.task import Task, splits_of
from hf_ruleextrap.train.trainer import RuleTrainer, training_arguments


def completions(*texts: str) -> WordBatch:
    """Return completions in which each question mark is a token that is no symbol."""
    codes = [FOREIGN_CODE if symbol == "?" else ord(symbol) for symbol in "".join(texts)]
    return WordBatch.from_flat(np.array(codes, np.uint8), np.array([len(text) for text in texts]))


def test_only_the_rules_of_the_authors_ignore_tokens_that_are_no_symbols() -> None:
    prompts, answers = ["aab", "aab", "abab"], completions("?b?aa", "?", "bbaa?b")
    finished = [True, True, False]
    reports = {
        paper: formal.aggregate(formal.score(get_language("ban", paper=paper), prompts, answers, finished))
        for paper in (False, True)
    }
    second = {paper: report.rules["starts_with_b"] for paper, report in reports.items()}
    first = {paper: report.rules["even_as"] for paper, report in reports.items()}
    assert (first[True].word.finished.hits, first[True].word.finished.n) == (2, 2)
    assert (second[True].completion.finished.hits, second[True].completion.finished.n) == (1, 2)
    assert first[False].word.finished.hits == second[False].completion.finished.hits == 0
    # Over all prompts, a completion with such a token is a failure under both rules.
    for report in reports.values():
        assert report.unparsable.hits == 3
        assert report.headline.hits == report.grammatical.hits == first[True].word.all.hits == 0


@pytest.mark.parametrize("monitored", [None, True])
def test_the_validation_loss_may_count_padding_that_the_training_does_not(
    monitored: bool | None, tmp_path: Path
) -> None:
    recipe = Recipe.of({**TINY, "validate_on_padding": monitored, "output_dir": str(tmp_path / "run")}, "test")
    results = run_recipe(recipe)
    task, model = Task.of(recipe), AutoModelForCausalLM.from_pretrained(recipe.run_dir)
    expected = task.likelihood(model, "validation", padded=bool(monitored))
    assert results.validation.tokens == expected.tokens
    logged = [json.loads(line) for line in (recipe.run_dir / "log.jsonl").read_text().splitlines()]
    at_best = {line["step"]: line["eval_loss"] for line in logged if "eval_loss" in line}[results.training.best_step]
    assert at_best == pytest.approx(expected.loss, abs=1e-6)
    assert results.test.tokens == results.test_without_padding.tokens


def test_a_run_of_an_authors_recipe_has_the_network_of_their_code(tmp_path: Path) -> None:
    keys = {**TINY, "architecture": "transformer", "size": "paper", "max_steps": 2, "eval_steps": 2}
    run_recipe(
        Recipe.of({**keys, "paper": True, "loss_on_padding": True, "output_dir": str(tmp_path / "paper")}, "test")
    )
    config = json.loads((tmp_path / "paper" / "config.json").read_text())
    assert (config["positions"], config["mask_padding"], config["dropout"]) == ("paper", True, 0.1)


def test_the_page_on_the_paper_answers_every_finding_with_keys_and_flags_that_exist() -> None:
    page = (Path(__file__).parents[2] / "docs" / "paper.md").read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(r"^\| Q(\d+) \|", page, flags=re.MULTILINE)] == list(range(1, 27))
    flags = set(re.findall(r"--([a-z][a-z_]+)", page)) - {"set", "samples", "out"}
    assert {"validate_on_padding", "max_new_symbols"} <= flags <= set(Recipe.model_fields)
    fields = {*RuleLinearConfig().to_dict(), *RuleTransformerConfig().to_dict()}
    keys = set(re.findall(r"`([a-z_]+): [^`]+`", page))
    assert {"schedule_per", "mask_padding", "read"} <= keys <= {*Recipe.model_fields, *fields}
    # Every table row has as many cells as the heading above it.
    for table in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_flags_of_the_page_give_the_linear_model_of_the_authors() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flags = "paper-anbn --architecture linear --loss_on_padding false --validate_on_padding"
    recipe = from_arguments(parser.parse_args(flags.split()))
    assert (recipe.network, recipe.loss_on_padding, recipe.validate_on_padding) == (
        {"causal": False, "read": "last"},
        False,
        True,
    )


RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))
_ROWS = 2
# These keys shorten the training and change no length, position or width.
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
    """Return the data and prompts of a recipe, without the references, which take minutes."""
    folder = tmp_path_factory.mktemp(request.param.stem)
    # The number of steps decides the number of words of a stream.
    keys = {key: value for key, value in SMALL.items() if request.param.stem != "stream" or key != "train_size"}
    recipe = Recipe.from_file(request.param, {**keys, "output_dir": str(folder)})
    language = get_language(recipe.language, paper=recipe.paper)
    prompts = {kind: language.prompts(kind, length=recipe.prompt_length) for kind in ("id", "ood")}
    evaluator: Any = SimpleNamespace(prompts=prompts)
    return Task(recipe, language, splits_of(recipe, language), build_tokenizer(language), evaluator)


@pytest.mark.parametrize("architecture", list_architectures())
def test_every_recipe_trains_every_architecture_for_two_steps(task: Task, architecture: str, tmp_path: Path) -> None:
    recipe = task.recipe.model_copy(update={"architecture": architecture, "output_dir": str(tmp_path)})
    fields = recipe.network
    model = build_model(architecture, language=task.language, size=recipe.size, seed=0, **fields)
    # The prompts, their completions and the longest word must fit into the positions.
    check_task_positions(model, task)
    arguments = training_arguments(recipe)
    # Other tests cover the completions and the checkpoints, which take most of the time of a run.
    arguments.eval_strategy = arguments.save_strategy = IntervalStrategy.NO
    arguments.load_best_model_at_end = False
    trainer = RuleTrainer(model, replace(task, recipe=recipe), arguments)
    words = trainer.words
    longest = words.widths.argsort(descending=True)[:_ROWS]
    trainer.train_dataset = TokenRows(
        words.rows[longest].numpy(), keep_padding=words.keep_padding, keep_width=words.keep_width
    )
    initial = {name: parameter.clone() for name, parameter in model.named_parameters()}
    trainer.train()
    assert trainer.state.global_step == 2
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert any(not parameter.equal(initial[name]) for name, parameter in model.named_parameters())
