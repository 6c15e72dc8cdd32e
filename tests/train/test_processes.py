"""Training on several processes, with `accelerate launch` as in the documentation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tiny import TINY

from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results
from hf_ruleextrap.train.run import run_recipe

TRAINING = Path(__file__).parents[2] / "training"
# The last batch of 50 words in batches of 16 has two words.
VALUES = {"language": "ban", "train_size": 51, "batch_size": 16, "use_cpu": True, "mass_length": 3, "by_length": [3, 5]}


def recipe(folder: Path, **values: Any) -> Recipe:
    return Recipe.of({**TINY, **VALUES, "output_dir": str(folder), **values}, "test")


def launch(config: str, folder: Path, **values: Any) -> subprocess.CompletedProcess[str]:
    note = folder.parent / f"{folder.name}.yaml"
    note.write_text(recipe(folder, **values).to_yaml())
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    command += [str(TRAINING / "accelerate" / config), str(TRAINING / "train.py"), str(note)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)


def losses(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "grad_norm"} for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("objective", ["likelihood", "oracle"])
def test_two_processes_train_the_same_model_as_one(objective: str, tmp_path: Path) -> None:
    """The batches, losses, weights and rates are equal, except for rounding errors of sums in another order."""
    process = launch("cpu2.yaml", tmp_path / "two", objective=objective)
    assert process.returncode == 0, process.stderr[-3000:]
    run_recipe(recipe(tmp_path / "one", objective=objective))
    two, one = Results.read(tmp_path / "two"), Results.read(tmp_path / "one")
    # The launcher silently starts a single process if it is called in another way.
    assert (two.timing.processes, one.timing.processes) == (2, 1)
    for line_of_two, line_of_one in zip(losses(tmp_path / "two"), losses(tmp_path / "one"), strict=True):
        assert line_of_two == pytest.approx(line_of_one, rel=2e-4, abs=2e-5)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("two", "one")]
    for name, values in weights[0].items():
        assert values.numpy() == pytest.approx(weights[1][name].numpy(), abs=2e-4), name
    assert two.best == one.best
    assert two.by_length == one.by_length
    assert len(one.by_length) == 4


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_launched_process_trains_the_same_model(tmp_path: Path) -> None:
    process = launch("cpu.yaml", tmp_path / "launched")
    assert process.returncode == 0, process.stderr[-3000:]
    run_recipe(recipe(tmp_path / "here"))
    names = ("launched", "here")
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in names)
    assert first == second


def test_bf16_training_is_close_to_fp32(tmp_path: Path) -> None:
    results = {
        precision: run_recipe(recipe(tmp_path / precision, precision=precision)) for precision in ("fp32", "bf16")
    }
    losses = [result.test.loss for result in results.values()]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_model_has_the_same_loss(tmp_path: Path) -> None:
    # One layer and one shape of batches, because the compiler takes several seconds for each.
    values = {"architecture": "transformer", "model": {"num_hidden_layers": 1}, "max_steps": 2, "eval_steps": 2}
    plain = run_recipe(recipe(tmp_path / "plain", **values))
    compiled = run_recipe(recipe(tmp_path / "compiled", **values, compile=True))
    assert compiled.test.loss == pytest.approx(plain.test.loss, rel=1e-4)
