"""Grids: their cells, and the time of the cells."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import TINY, grid

from hf_ruleextrap import get_language
from hf_ruleextrap.cli import main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.sweep.grid import key_of, read_grid
from hf_ruleextrap.sweep.job import Ended, Job
from hf_ruleextrap.sweep.sweep import run_sweep
from hf_ruleextrap.sweep.workers import Workers
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.task import splits_of

TRAINING = Path(__file__).parents[2] / "training"


@pytest.mark.parametrize("recipe", sorted((TRAINING / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_has_the_values_in_its_name(recipe: Path) -> None:
    loaded = Recipe.from_file(recipe)
    kind, _, language = recipe.stem.partition("-")
    if language:
        assert loaded.language == language
        assert loaded.paper == loaded.loss_on_padding == (not loaded.disjoint) == (kind == "paper")
        assert loaded.size == ("mini" if kind == "mini" else "paper")
        assert loaded.max_length <= 64 if kind == "mini" else loaded.max_length == 256


# The configuration of the authors: epochs, epochs between evaluations, batches per epoch.
AUTHORS = {
    "ban": (50_000, 250, 118),
    "bban": (5_000, 100, 118),
    "anbn": (50_000, 250, 1),
    "dyck": (50_000, 250, 4),
    "anbncn": (50_000, 250, 1),
    "csdyck": (50_000, 250, 4),
}


@pytest.mark.parametrize("name", AUTHORS)
def test_the_paper_s_recipes_train_as_long_as_the_authors(name: str) -> None:
    recipe = Recipe.from_file(TRAINING / "recipes" / f"paper-{name}.yaml")
    epochs, between, batches = AUTHORS[name]
    words = splits_of(recipe, get_language(name, paper=True)).train
    assert -(-len(words) // recipe.batch_size) == batches
    assert recipe.max_steps == epochs * batches
    assert recipe.eval_steps == between * batches
    assert recipe.patience == 25


@pytest.mark.parametrize(("kind", "cells"), [("paper", 6 * 4 * 5), ("corrected", 6 * 5 * 5)])
def test_the_grids_have_the_expected_number_of_cells(kind: str, cells: int, tmp_path: Path) -> None:
    assert len(read_grid(TRAINING / "grids" / f"{kind}.yaml", tmp_path)) == cells


def test_the_mini_grid_is_the_whole_study(tmp_path: Path) -> None:
    cells = read_grid(TRAINING / "grids" / "mini.yaml", tmp_path)
    assert len(cells) == len({cell.key for cell in cells}) == 6 * 5 * 3
    assert len({(cell.recipe.language, cell.recipe.architecture, cell.recipe.seed) for cell in cells}) == 90
    assert all(cell.recipe.run_dir == tmp_path / cell.key for cell in cells)


def test_the_key_of_a_cell_depends_on_the_recipe_and_not_on_the_folder() -> None:
    recipe = Recipe.of(TINY, "test")
    assert key_of(recipe) == key_of(recipe.model_copy(update={"output_dir": "elsewhere", "use_cpu": True}))
    assert key_of(recipe) != key_of(recipe.model_copy(update={"learning_rate": 0.5}))


@pytest.mark.parametrize(
    ("axes", "line"),
    [
        ({"sed": [1]}, "unknown axis 'sed': did you mean 'seed'"),
        ({"seed": 3}, "axis seed is 3: give a list of values"),
        ({"seed": [0, 0]}, "two cells are the same (anbn-lstm-seed0-"),
        ({"seed": [-1]}, "seed is -1"),
        ({"language": ["annbn"]}, "annbn"),
        ({"architecture": ["lstn"]}, "lstn"),
        ({"model.hidden_sise": [8]}, "hidden_size"),
        ({"model.hidden_size": [0]}, "hidden_size"),
        ({"prompt_length": [100]}, "100"),
    ],
)
def test_a_grid_that_cannot_run_is_refused_before_anything_runs(
    axes: dict[str, Any], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    assert main(["sweep", str(grid(tmp_path, axes)), "--out", str(out)]) == 2
    error = capsys.readouterr().err.strip()
    assert line in error
    assert "\n" not in error
    assert not out.exists()


def test_parts_come_one_after_the_other_and_a_cell_of_two_parts_runs_once(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(
        "parts:\n- axes: {seed: [0, 1], architecture: [lstm, mamba]}\n"
        "- axes: {seed: [0, 1], architecture: [lstm], optimizer: [adamw, muon]}\n"
    )
    recipes = [cell.recipe for cell in read_grid(tmp_path / "grid.yaml", tmp_path / "store")]
    described = [(recipe.architecture, recipe.optimizer, recipe.seed) for recipe in recipes]
    assert described == [
        *(("lstm", "adamw", 0), ("mamba", "adamw", 0), ("lstm", "adamw", 1), ("mamba", "adamw", 1)),
        *(("lstm", "muon", 0), ("lstm", "muon", 1)),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("parts: []\naxes: {seed: [0]}", "give `parts` alone"),
        ("parts: [anbn]", "give `parts` alone"),
        ("parts:\n- axes: {seed: [0]}\n- axis: {seed: [0]}", r"part 2: unknown key 'axis': did you mean 'axes'"),
        ("parts:\n- parts: []", r"part 1: unknown key 'parts': known: axes, recipes"),
        # A grid without a cell, or with values of another type that are as empty as no value.
        ("", "has neither recipes nor axes"),
        ("recipes: []\naxes: {}", "has neither recipes nor axes"),
        ("parts: []", "`parts` is empty"),
        ("parts:\n- axes: {seed: [0]}\n- {}", "part 2 has neither recipes nor axes"),
        ("recipes: [mini-anbn]\naxes: []", "give `recipes` as a list of files, and `axes` as keys"),
        ("recipes: false\naxes: {seed: [0]}", "give `recipes` as a list of files"),
        ("recipes: ''\naxes: {seed: [0]}", "give `recipes` as a list of files"),
        # Lengths that every run would refuse at its start.
        ("axes: {by_length: [[4, 0]]}", "no id prompt of anbn has 0 symbols"),
        ("axes: {mass_length: [60]}", r"2\^60 words are too many"),
        (
            "axes: {" + ", ".join(f"{key}: {[*range(1, 101)]}" for key in ("seed", "max_steps", "batch_size")) + "}",
            "has 1,000,000 cells: give shorter axes",
        ),
    ],
)
def test_a_grid_without_valid_cells_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(RuleExtrapError, match=reason):
        read_grid(tmp_path / "grid.yaml", tmp_path / "store")


def test_mini_is_the_beginning_of_desk(tmp_path: Path) -> None:
    mini, desk = ([cell.key for cell in read_grid(name, tmp_path)] for name in ("mini", "desk"))
    assert set(mini) == set(desk[: len(mini)])


def test_the_runs_of_the_demo_are_runs_of_mini(tmp_path: Path) -> None:
    mini, demo = ({cell.key for cell in read_grid(name, tmp_path)} for name in ("mini", "demo"))
    assert len(demo) == 27
    assert demo < mini


def test_an_estimate_measures_each_shape_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "grid.yaml").write_text(
        "axes: {seed: [0, 1], learning_rate: [0.1, 0.2], architecture: [lstm, linear], max_length: [12],\n"
        "  train_size: [16], batch_size: [8], held_out_size: [8], max_steps: [30000], patience: [2]}"
    )
    assert main(["estimate", str(tmp_path / "grid.yaml"), "--json"]) == 0
    printed = capsys.readouterr()
    # The measuring runs do not introduce themselves.
    assert printed.err == ""
    estimate = json.loads(printed.out)
    assert estimate["runs"] == 8
    assert {shape["architecture"]: shape["runs"] for shape in estimate["shapes"]} == {"lstm": 4, "linear": 4}
    for shape in estimate["shapes"]:
        assert 0 < 4 * 30000 * shape["step_seconds"] < shape["seconds"]
    assert estimate["core_hours"] == pytest.approx(sum(shape["seconds"] for shape in estimate["shapes"]) / 3600)
    assert not (tmp_path / "runs").exists()


def test_an_estimate_may_run_the_file_of_a_language(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{tmp_path / 'mine.py'}:Mine"
    (tmp_path / "mine.py").write_text(
        "from hf_ruleextrap.formal import Regular, count_mod, no_factor\n"
        "class Mine(Regular):\n"
        "    name, summary, alphabet = 'mine', 'the number of a is even, no two b in a row', ('a', 'b')\n"
        "    rules = (count_mod('a', 2, 0), no_factor('bb'))\n"
    )
    (tmp_path / "grid.yaml").write_text(f"axes: {{language: ['{name}'], max_length: [8], train_size: [16]}}")
    assert main(["estimate", str(tmp_path / "grid.yaml"), "--json"]) == 2
    assert f"give --language {name} to allow that" in capsys.readouterr().err
    assert main(["estimate", str(tmp_path / "grid.yaml"), "--language", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 1


def test_the_longest_cells_start_before_the_last_ones(tmp_path: Path) -> None:
    started: list[str] = []

    @contextmanager
    def open_two(most: int) -> Iterator[Workers]:  # noqa: ARG001  # two workers, whatever the number of cells
        def start(job: Job) -> Future[Ended]:
            future: Future[Ended] = Future()
            started.append(job.key)
            threading.Timer(0.3 if "transformer" in job.key else 0.01, future.set_result, [Ended("done")]).start()
            return future

        yield Workers(lambda: 2, start)

    axes = {"seed": [0, 1, 2, 3], "architecture": ["lstm", "transformer"]}
    cells = read_grid(grid(tmp_path, axes), tmp_path / "store")
    run_sweep(cells, tmp_path / "store", SimpleNamespace(open=open_two))
    assert ["lstm" in key for key in started] == [True, False, False, False, False, True, True, True]
