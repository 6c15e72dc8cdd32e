from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from hf_ruleextrap.architectures import list_architectures
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.train.recipe import Recipe, add_arguments, from_arguments

RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))


def parse(*words: str) -> Recipe:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return from_arguments(parser.parse_args(words))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_of_the_project_is_valid_and_commented(path: Path) -> None:
    Recipe.from_file(path)
    assert path.read_text(encoding="utf-8").startswith("#")


def test_a_recipe_survives_its_own_file(tmp_path: Path) -> None:
    recipe = Recipe.of({"language": "dyck", "model": {"hidden_size": 8}, "patience": 3}, "test")
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert Recipe.from_file(tmp_path / "recipe.yaml") == recipe


def test_flags_override_the_file_and_set_reaches_the_model(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("language: ban\nmax_steps: 7\nmodel: {hidden_size: 8, dropout: 0.5}\n")
    recipe = parse(str(path), "--max_steps", "9", "--learning_rate", "1e-3", "--set", "hidden_size=16")
    assert (recipe.language, recipe.max_steps, recipe.learning_rate) == ("ban", 9, 0.001)
    assert recipe.model == {"hidden_size": 16, "dropout": 0.5}


def test_an_exponent_without_a_point_is_a_number_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("learning_rate: 1e-3\n")
    assert Recipe.from_file(path).learning_rate == 0.001


def test_a_flag_that_looks_like_a_number_stays_text_where_text_is_asked_for() -> None:
    assert parse("--output_dir", "2024").output_dir == "2024"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_step": 3}, r"unknown key 'max_step': did you mean 'max_steps'"),
        ({"max_steps": "fast"}, r"max_steps is 'fast', but should be a valid integer"),
        ({"max_steps": 0}, r"max_steps is 0, but should be greater than or equal to 1"),
        ({"max_steps": True}, r"max_steps is True, but should be a valid integer"),
        ({"learning_rate": "quick"}, r"learning_rate is 'quick', but should be a valid number"),
        ({"lr_scheduler": "cosin"}, r"lr_scheduler is 'cosin', but should be 'constant'"),
        ({"model": 3}, r"model is 3, but should be a valid dictionary"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(RuleExtrapError, match=rf"r\.yaml: {message}") as caught:
        Recipe.of(values, "r.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n", "holds a list"), ("a: [", "is not YAML"), (None, "cannot read the recipe")],
)
def test_a_file_that_is_no_recipe(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RuleExtrapError, match=message) as caught:
        Recipe.from_file(path)
    assert "\n" not in str(caught.value)


def test_set_wants_key_and_value() -> None:
    with pytest.raises(RuleExtrapError, match="give KEY=VALUE"):
        parse("--set", "hidden_size")


def test_the_authors_recipes_train_the_networks_of_their_code_and_no_other_recipe_does() -> None:
    released = {
        "linear": {"causal": False, "read": "last"},
        "transformer": {"positions": "paper", "mask_padding": True},
    }
    for path in RECIPES:
        for architecture in [*list_architectures(), "gpt2"]:
            recipe = Recipe.from_file(path, {"architecture": architecture})
            expected = released.get(architecture, {}) if path.name.startswith("paper-") else {}
            assert recipe.network == expected, (path.name, architecture)
    # What the user says comes first.
    recipe = parse(str(RECIPES[0].with_name("paper-anbn.yaml")), "--architecture", "linear", "--set", "causal=true")
    assert recipe.network == {"causal": True, "read": "last"}
