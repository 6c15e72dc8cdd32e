"""Grids and sweeps: what is refused before anything runs, and what survives when something goes wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import TINY

from hf_ruleextrap import get_language
from hf_ruleextrap.cli import main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.train.grid import key_of, read_grid
from hf_ruleextrap.train.recipe import Recipe, splits_of
from hf_ruleextrap.train.run import run
from hf_ruleextrap.train.sweep import read_store, sweep

TRAINING = Path(__file__).parents[2] / "training"


def grid(folder: Path, axes: dict[str, Any], base: dict[str, Any] | None = None) -> Path:
    """A grid file over one recipe file."""
    (folder / "base.yaml").write_text(yaml.safe_dump({**TINY, **(base or {})}))
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({"recipes": ["base.yaml"], "axes": axes}))
    return path


@pytest.mark.parametrize("recipe", sorted((TRAINING / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_one(recipe: Path) -> None:
    found = Recipe.from_file(recipe)
    kind, _, language = recipe.stem.partition("-")
    if language:
        assert found.language == language
        assert found.paper == found.loss_on_padding == (not found.disjoint) == (kind == "paper")
        assert found.size == ("mini" if kind == "mini" else "paper")
        assert found.max_length <= 64 if kind == "mini" else found.max_length == 256


# The authors' configuration: epochs, epochs between checks, batches an epoch.
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
def test_the_grids_are_whole(kind: str, cells: int, tmp_path: Path) -> None:
    assert len(read_grid(TRAINING / "grids" / f"{kind}.yaml", tmp_path)) == cells


def test_the_mini_grid_is_the_whole_study(tmp_path: Path) -> None:
    cells = read_grid(TRAINING / "grids" / "mini.yaml", tmp_path)
    assert len(cells) == len({cell.key for cell in cells}) == 6 * 5 * 3
    assert len({(cell.recipe.language, cell.recipe.architecture, cell.recipe.seed) for cell in cells}) == 90
    assert all(cell.recipe.run_dir == tmp_path / cell.key for cell in cells)


def test_a_cell_s_key_is_its_recipe_s_and_not_its_place_s() -> None:
    one = Recipe.of(TINY, "test")
    assert key_of(one) == key_of(one.model_copy(update={"output_dir": "elsewhere", "use_cpu": True}))
    assert key_of(one) != key_of(one.model_copy(update={"learning_rate": 0.5}))


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


def test_a_folder_that_is_no_store_and_another_version_s_store_are_refused(tmp_path: Path) -> None:
    cells = read_grid(grid(tmp_path, {"seed": [0]}), tmp_path)
    with pytest.raises(RuleExtrapError, match="exists and is no store"):
        sweep(cells, tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    (store / "store.txt").write_text("0\n")
    with pytest.raises(RuleExtrapError, match="written by another version"):
        sweep(cells, store)
    with pytest.raises(RuleExtrapError, match="holds no results"):
        read_store(store)


def test_eight_cells_of_which_one_fails_and_one_loses_its_worker(tmp_path: Path) -> None:
    """Seven results and the failure named; a second call runs only that one."""
    store = tmp_path / "store"
    axes = {"seed": [0, 1, 2, 3, 4, 5, 6, 7]}
    cells = read_grid(grid(tmp_path, axes, {"max_steps": 40}), store)
    bad = cells[3]
    # A file where its run folder should be: nothing can run there.
    store.mkdir()
    (store / "store.txt").write_text("1\n")
    (store / bad.key).write_text("in the way")
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 120
        while not (cells[0].recipe.run_dir / "recipe.yaml").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        worker = multiprocessing.active_children()[0]
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        killed.append(worker.pid)

    killer = threading.Thread(target=kill_one)
    killer.start()
    outcome = sweep(cells, store, workers=2)
    killer.join()
    assert killed
    assert sorted(outcome.done) == sorted(cell.key for cell in cells if cell is not bad)
    assert list(outcome.failed) == [bad.key]
    assert "is a file" in (store / "failures" / f"{bad.key}.txt").read_text()
    assert len(read_store(store)) == 7

    (store / bad.key).unlink()
    again = sweep(cells, store, workers=2)
    assert again.done == [bad.key]
    assert len(again.skipped) == 7
    assert not again.failed
    assert not list((store / "failures").iterdir())


def test_a_cell_of_a_sweep_is_the_same_run(tmp_path: Path) -> None:
    store = tmp_path / "store"
    cells = read_grid(grid(tmp_path, {"architecture": ["lstm", "transformer"]}), store)
    assert not sweep(cells, store, workers=1).failed
    alone = run(cells[0].recipe.model_copy(update={"output_dir": str(tmp_path / "alone")}))
    found = next(results for results in read_store(store) if results.recipe.architecture == "lstm")
    ours, theirs = (json.loads(results.model_dump_json()) for results in (found, alone))
    for results in (ours, theirs):
        del results["timing"], results["recipe"]["output_dir"]
    assert ours == theirs
    weights = "model.safetensors"
    assert (cells[0].recipe.run_dir / weights).read_bytes() == (tmp_path / "alone" / weights).read_bytes()


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, store = grid(tmp_path, {"seed": [0, 1]}), tmp_path / "store"
    assert main(["sweep", str(path), "--out", str(store), "--dry-run"]) == 0
    assert [line.rpartition("-")[0] for line in capsys.readouterr().out.split()] == [
        "anbn-lstm-seed0",
        "anbn-lstm-seed1",
    ]
    assert not store.exists()
    assert main(["sweep", str(path), "--out", str(store), "--workers", "1"]) == 0
    assert f"2 cells: 2 ran, 0 had been done, 0 failed; results in {store}" in capsys.readouterr().out
    assert main(["sweep", str(path), "--out", str(store)]) == 0
    assert "0 ran, 2 had been done" in capsys.readouterr().out
