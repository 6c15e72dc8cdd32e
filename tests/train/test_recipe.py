from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from hf_ruleextrap.architectures import list_architectures
from hf_ruleextrap.cli import main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.inputs import packaged_files
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.train.recipe import Recipe, add_arguments, from_arguments
from hf_ruleextrap.train.recipe_files import read_recipe
from hf_ruleextrap.train.task import splits_of

RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))


def parse(*words: str) -> Recipe:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return from_arguments(parser.parse_args(words))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_of_the_project_is_valid_and_commented(path: Path) -> None:
    Recipe.from_file(path)
    assert path.read_text(encoding="utf-8").startswith("#")


def test_a_recipe_survives_a_round_trip_through_a_file(tmp_path: Path) -> None:
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


def test_a_number_stays_text_in_a_flag_of_text() -> None:
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
def test_an_invalid_value_is_refused_in_one_line_that_names_the_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(RuleExtrapError, match=rf"r\.yaml: {message}") as caught:
        Recipe.of(values, "r.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n", "contains a list"), ("a: [", "is not YAML"), (None, "cannot read the recipe")],
)
def test_a_file_that_is_no_recipe_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RuleExtrapError, match=message) as caught:
        Recipe.from_file(path)
    assert "\n" not in str(caught.value)


def test_set_requires_key_and_value() -> None:
    with pytest.raises(RuleExtrapError, match="give KEY=VALUE"):
        parse("--set", "hidden_size")


def test_only_the_recipes_of_the_authors_train_the_networks_of_their_code() -> None:
    released = {
        "linear": {"causal": False, "read": "last"},
        "transformer": {"positions": "paper", "mask_padding": True},
    }
    for path in RECIPES:
        for architecture in [*list_architectures(), "gpt2"]:
            recipe = Recipe.from_file(path, {"architecture": architecture})
            expected = released.get(architecture, {}) if path.name.startswith("paper") else {}
            own = read_recipe(path, Recipe.model_fields).per_architecture.get(architecture, {}).get("model", {})
            assert recipe.network == {**expected, **own}, (path.name, architecture)
    # A flag of the user has precedence.
    recipe = parse(str(RECIPES[0].with_name("paper-anbn.yaml")), "--architecture", "linear", "--set", "causal=true")
    assert recipe.network == {"causal": True, "read": "last"}


def write_recipes(folder: Path, **files: str) -> Path:
    """Write recipe files by their name, and return the first file."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / f"{next(iter(files))}.yaml"


def test_the_recipes_of_the_project_resolve_to_the_golden_values() -> None:
    expected = json.loads((Path(__file__).parents[1] / "golden" / "recipes.json").read_text(encoding="utf-8"))
    for name, values in expected.items():
        assert Recipe.from_file(name).model_dump(exclude_defaults=True) == values, name
    # The other recipes are the bases that these extend, and the stream.
    assert {path.stem for path in RECIPES} - set(expected) == {"paper", "corrected", "mini", "stream"}


def test_the_recipes_of_the_project_are_short() -> None:
    lines = {
        path.stem: [line for line in path.read_text().splitlines() if line[:1] != "#"]
        for path in RECIPES
        if path.stem != "stream"
    }
    assert sum(map(len, lines.values())) <= 150
    assert all(len(path.read_text().splitlines()) <= 8 for path in RECIPES if path.stem.startswith("paper-"))


def test_a_recipe_extends_another_beside_it_or_one_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write_recipes(tmp_path / "deep", base="extends: ../root.yaml\nmax_steps: 9\nmodel: {hidden_size: 8}\n")
    path = write_recipes(
        tmp_path,
        mine="extends: deep/base.yaml\nseed: 3\nmodel: {dropout: 0.5}\n",
        root="extends: quickstart\nbatch_size: 7\nmax_steps: 5\n",
    )
    recipe = Recipe.from_file(path)
    assert (recipe.seed, recipe.max_steps, recipe.batch_size, recipe.learning_rate) == (3, 9, 7, 0.01)
    assert recipe.model == {"hidden_size": 8, "dropout": 0.5}
    assert parse(str(path), "--set", "dropout=0.1").model == {"hidden_size": 8, "dropout": 0.1}


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"a": "extends: a.yaml\n"}, r"a\.yaml extends .*a\.yaml: a recipe cannot extend itself"),
        ({"a": "extends: ./b.yaml", "b": "extends: a.yaml"}, r"a\.yaml extends .*b\.yaml, which extends .*a\.yaml: "),
        ({"a": "seed: 1\nextends: c.yaml\n"}, r"a\.yaml:2: cannot read the recipe '.*c\.yaml': there is no such file"),
        (
            {"a": "extends: quickstat\n"},
            r"a\.yaml:1: cannot read the recipe: unknown recipe .* did you mean 'quickstart'",
        ),
        ({"a": "extends: [b, c]\n"}, r"a\.yaml:1: extends is \['b', 'c'\]: give the name or the file of one recipe"),
        ({"a": "extends: b.yaml", "b": "seed: 1\n\nsed: 2"}, r"b\.yaml:3: unknown key 'sed': did you mean 'seed'"),
        (
            {"a": "extends: b.yaml", "b": "seed: 1\npatience: x"},
            r"b\.yaml:2: patience is 'x', but should be a valid int",
        ),
        ({"a": "max_steps: 5\nmax_epochs: 5"}, r"a\.yaml: max_epochs and max_steps are both set.*: remove one"),
        (
            {"a": "max_total_tokens: 9"},
            r"a\.yaml: max_total_tokens is 9, but BOS, a prompt of 8 symbols and EOS take 10",
        ),
        ({"a": "max_epochs: 0"}, r"a\.yaml:1: max_epochs is 0, but should be greater than or equal to 1"),
    ],
)
def test_a_recipe_that_cannot_be_resolved_is_refused_in_one_line(
    files: dict[str, str], line: str, tmp_path: Path
) -> None:
    with pytest.raises(RuleExtrapError, match=line) as caught:
        Recipe.from_file(write_recipes(tmp_path, **files))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [{}, {"disjoint": False}, {"max_length": 20}, {"language": "csdyck"}])
def test_epochs_and_total_tokens_become_steps_and_symbols(values: dict[str, object]) -> None:
    keys = {"train_size": 70, "batch_size": 16, "max_length": 40, **values}
    recipe = Recipe.of({**keys, "max_epochs": 30, "eval_epochs": 4, "max_total_tokens": 50}, "test")
    words = len(splits_of(recipe, get_language(recipe.language)).train)
    steps = -(-words // 16)
    assert (recipe.max_steps, recipe.eval_steps, recipe.max_new_symbols) == (30 * steps, 4 * steps, 50 - 8 - 2)
    # A run folder keeps the resolved values, which decide the name of the run.
    assert recipe == Recipe.of(
        {**keys, "max_steps": 30 * steps, "eval_steps": 4 * steps, "max_new_symbols": 40}, "test"
    )
    assert not {"max_epochs", "eval_epochs", "max_total_tokens"} & set(recipe.model_dump())


def test_steps_replace_inherited_epochs_and_epochs_replace_inherited_steps(tmp_path: Path) -> None:
    epochs = write_recipes(tmp_path, epochs="train_size: 64\nlanguage: dyck\nbatch_size: 32\nmax_epochs: 50\n")
    assert parse(str(epochs)).max_steps == 100
    assert parse(str(epochs), "--batch_size", "64").max_steps == 50
    assert parse(str(epochs), "--max_steps", "7").max_steps == 7
    steps = write_recipes(tmp_path, steps="extends: epochs.yaml\nmax_steps: 9\n")
    assert parse(str(steps)).max_steps == 9
    assert parse(str(steps), "--max-epochs", "3").max_steps == 6


def test_a_recipe_is_found_by_name_and_by_path_and_an_unknown_name_gets_suggestions(tmp_path: Path) -> None:
    assert parse("paper-dyck") == Recipe.from_file(RECIPES[0].with_name("paper-dyck.yaml"))
    assert set(packaged_files("recipe")) == {path.stem for path in RECIPES}
    for name, line in [("paper-dick", "did you mean 'paper-dyck'"), (str(tmp_path), "it is a folder")]:
        with pytest.raises(RuleExtrapError, match=line):
            parse(name)


def test_recipes_are_listed_and_shown_resolved(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["recipes"]) == 0
    # Continuation lines are indented.
    listed = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert [line.split()[0] for line in listed] == [path.stem for path in RECIPES]
    assert all(len(line.split()) > 3 for line in listed)
    assert main(["recipes", "show", "paper-ban"]) == 0
    shown = capsys.readouterr().out
    first = shown.splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith("paper.yaml")
    written = write_recipes(tmp_path, shown=shown)
    assert Recipe.from_file(written) == Recipe.from_file("paper-ban")
    assert "max_steps: 5900000" in shown
    assert main(["recipes", "show", "paper-ban", "--json"]) == 0
    assert Recipe.of(json.loads(capsys.readouterr().out), "shown") == Recipe.from_file("paper-ban")
    assert main(["recipes", "show", "no-such-recipe"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


PER_ARCHITECTURE = """
learning_rate: 0.003
model: {hidden_size: 8}
per_architecture:
  mamba: {learning_rate: 0.001, model: {state_size: 4}}
"""


def test_a_recipe_has_values_for_single_architectures(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(PER_ARCHITECTURE)
    (tmp_path / "own.yaml").write_text("extends: base.yaml\nper_architecture: {lstm: {seed: 7}, mamba: {seed: 8}}")
    (tmp_path / "general.yaml").write_text("extends: base.yaml\nlearning_rate: 0.5")

    def values(name: str, **overrides: Any) -> tuple[Any, ...]:
        recipe = Recipe.from_file(tmp_path / name, overrides)
        return recipe.learning_rate, recipe.model, recipe.seed

    assert values("base.yaml") == (0.003, {"hidden_size": 8}, 0)
    assert values("base.yaml", architecture="mamba") == (0.001, {"hidden_size": 8, "state_size": 4}, 0)
    assert values("base.yaml", architecture="mamba", learning_rate=0.1)[0] == 0.1
    assert values("own.yaml") == (0.003, {"hidden_size": 8}, 7)
    assert values("own.yaml", architecture="mamba") == (0.001, {"hidden_size": 8, "state_size": 4}, 8)
    # A value of the extending file applies to every architecture.
    assert values("general.yaml", architecture="mamba")[0] == 0.5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[lstm]", r"r\.yaml:1: per_architecture is \['lstm'\]: give a mapping"),
        ("{lstn: {seed: 1}}", r"r\.yaml:1: unknown architecture 'lstn': did you mean 'lstm'"),
        ("{lstm: {sed: 1}}", r"r\.yaml:1, architecture lstm: unknown key 'sed': did you mean 'seed'"),
        ("{lstm: {architecture: mamba}}", "unknown key 'architecture'"),
        ("{lstm: {seed: x}}", r"r\.yaml:1: seed is 'x'"),
    ],
)
def test_invalid_values_for_an_architecture_are_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"per_architecture: {text}")
    with pytest.raises(RuleExtrapError, match=reason):
        Recipe.from_file(tmp_path / "r.yaml")


def test_noise_replaces_a_share_of_the_training_words(tmp_path: Path) -> None:
    values = {"language": "dyck", "max_length": 16, "train_size": 200, "held_out_size": 20, "output_dir": str(tmp_path)}
    language = get_language("dyck")
    clean, noisy, again = (
        splits_of(Recipe.of({**values, "noise": noise}, "test"), language) for noise in (0.0, 0.05, 0.05)
    )
    assert int((~language.contains(clean.train)).sum()) == 0
    assert int((~language.contains(noisy.train)).sum()) == 10
    assert noisy.train.lengths.tolist() == clean.train.lengths.tolist()
    assert list(noisy.train) == list(again.train)
    assert list(noisy.test) == list(clean.test)
