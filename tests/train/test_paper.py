"""What the authors' recipes train and read as the authors' code does, beside the data and the steps."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY
from transformers import AutoModelForCausalLM

import hf_ruleextrap.models  # noqa: F401  # registers our architectures
from hf_ruleextrap import formal
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.formal.words import FOREIGN_CODE
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.models.linear import RuleLinearConfig
from hf_ruleextrap.models.transformer import RuleTransformerConfig
from hf_ruleextrap.train.recipe import Recipe, add_arguments, from_arguments
from hf_ruleextrap.train.run import run_recipe
from hf_ruleextrap.train.task import Task


def completions(*texts: str) -> WordBatch:
    """Completions in which a question mark is a token that is no symbol."""
    codes = [FOREIGN_CODE if symbol == "?" else ord(symbol) for symbol in "".join(texts)]
    return WordBatch.from_flat(np.array(codes, np.uint8), np.array([len(text) for text in texts]))


def test_the_authors_rules_pass_over_tokens_that_are_no_symbols_and_ours_do_not() -> None:
    prompts, made = ["aab", "aab", "abab"], completions("?b?aa", "?", "bbaa?b")
    finished = [True, True, False]
    reports = {
        paper: formal.aggregate(formal.score(get_language("ban", paper=paper), prompts, made, finished))
        for paper in (False, True)
    }
    second = {paper: report.rules["starts_with_b"] for paper, report in reports.items()}
    first = {paper: report.rules["even_as"] for paper, report in reports.items()}
    assert (first[True].word.finished.hits, first[True].word.finished.n) == (2, 2)
    assert (second[True].completion.finished.hits, second[True].completion.finished.n) == (1, 2)
    assert first[False].word.finished.hits == second[False].completion.finished.hits == 0
    # Over all prompts such a completion is a failure in both.
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
    flags = set(re.findall(r"--([a-z][a-z_]+)", page)) - {"set", "samples"}
    assert {"validate_on_padding", "max_new_symbols"} <= flags <= set(Recipe.model_fields)
    fields = {*RuleLinearConfig().to_dict(), *RuleTransformerConfig().to_dict()}
    keys = set(re.findall(r"`([a-z_]+): [^`]+`", page))
    assert {"schedule_per", "mask_padding", "read"} <= keys <= {*Recipe.model_fields, *fields}
    # Every table row has as many cells as the heading above it.
    for table in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_flag_of_the_page_makes_their_linear_model() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flags = "paper-anbn --architecture linear --loss_on_padding false --validate_on_padding"
    recipe = from_arguments(parser.parse_args(flags.split()))
    assert (recipe.network, recipe.loss_on_padding, recipe.validate_on_padding) == (
        {"causal": False, "read": "last"},
        False,
        True,
    )
