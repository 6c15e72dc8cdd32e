"""The batches of a training, the loss of a batch, and training on several processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny import TINY
from torch.nn.functional import cross_entropy

from hf_ruleextrap import build_model, list_architectures
from hf_ruleextrap.train.batches import Batches, BatchLoader, TokenRows
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results
from hf_ruleextrap.train.run import run_recipe
from hf_ruleextrap.train.task import Task
from hf_ruleextrap.train.trainer import RuleTrainer, training_arguments


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 3))
def test_the_shares_of_all_processes_make_up_the_batch(n: int, batch_size: int, processes: int, epoch: int) -> None:
    shares = []
    for process in range(processes):
        batches = Batches(n, batch_size, seed=5, process=process, processes=processes)
        batches.set_epoch(epoch)
        shares.append(list(batches))
        assert len(shares[-1]) == len(batches)
    alone = Batches(n, batch_size, seed=5)
    alone.set_epoch(epoch)
    whole = list(alone)
    assert sorted(row for batch in whole for row in batch) == list(range(n))
    for batch, *parts in zip(whole, *shares, strict=True):
        # The parts are equally long, so that all processes run the model equally often. A negative number is no row.
        assert len({len(part) for part in parts}) == 1
        assert sorted(row for part in parts for row in part if row >= 0) == sorted(batch)
        assert sum(row < 0 for part in parts for row in part) < processes


def test_every_epoch_and_every_seed_has_its_own_order() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = Batches(50, 50, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(0, 0) == order(0, 0)
    assert len({str(order(seed, epoch)) for seed in range(2) for epoch in range(3)}) == 6


def test_a_placeholder_row_has_no_target() -> None:
    rows = TokenRows(np.array([[1, 3, 4, 2, 0], [1, 3, 2, 0, 0]]), keep_padding=False)
    batch = rows.__getitems__([1, -1])
    assert batch["labels"][0].tolist() == [3, 2]
    assert (batch["labels"][1] == -100).all()
    padded = TokenRows(rows.rows.numpy(), keep_padding=True).__getitems__([0, -1])
    assert padded["labels"][0].tolist() == [3, 4, 2, 0]
    assert (padded["labels"][1] == -100).all()


def test_the_last_token_of_a_row_is_a_label_and_no_input() -> None:
    rows = TokenRows(np.array([[1, 3, 4, 2, 0], [1, 3, 2, 0, 0]]), keep_padding=False)
    batch = rows.__getitems__([0, 1])
    assert batch["input_ids"].tolist() == [[1, 3, 4], [1, 3, 2]]
    assert batch["labels"].tolist() == [[3, 4, 2], [3, 2, -100]]
    wide = TokenRows(rows.rows.numpy(), keep_padding=False, keep_width=True).__getitems__([1])
    assert wide["input_ids"].tolist() == [[1, 3, 2, 0]]
    assert wide["labels"].tolist() == [[3, 2, -100, -100]]


def test_the_loader_resumes_at_the_next_batch() -> None:
    from accelerate import skip_first_batches

    rows = TokenRows(np.arange(20).reshape(10, 2) + 3, keep_padding=True)
    whole, cut = (BatchLoader(rows, Batches(10, 3, seed=0)) for _ in range(2))
    for loader in (whole, cut):
        loader.set_epoch(4)
    expected = [batch["input_ids"] for batch in whole][2:]
    for batch, input_ids in zip(skip_first_batches(cut, 2), expected, strict=True):
        assert torch.equal(batch["input_ids"], input_ids)


# For each architecture with its fields: whether words of similar length are computed together.
CASES: list[tuple[str, dict[str, Any], bool]] = [(name, {}, True) for name in list_architectures()]
CASES += [("transformer", {"positions": "learned", "max_position_embeddings": 33}, True)]
CASES += [("linear", {"causal": False}, False)]


def trainer_of(folder: Path, architecture: str, model: dict[str, Any], **values: Any) -> RuleTrainer:
    values = {**TINY, "language": "ban", "max_length": 32, "architecture": architecture, "model": model, **values}
    recipe = Recipe.of({**values, "output_dir": str(folder)}, "test")
    network = build_model(architecture, language="ban", seed=0, **model)
    return RuleTrainer(network, Task.of(recipe), training_arguments(recipe))


def gradients(trainer: RuleTrainer, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    trainer.model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in trainer.model.named_parameters()}


def one_by_one(trainer: RuleTrainer, rows: list[int], *, width: int | None) -> torch.Tensor:
    """Return the loss by its definition: each word is computed by itself, with padding up to ``width`` columns."""
    total, tokens = torch.zeros(()), 0
    for row in rows:
        ids = trainer.words.rows[row : row + 1]
        length = int(trainer.words.widths[row])
        shown = ids[:, : length - 1] if width is None else torch.nn.functional.pad(ids, (0, width))[:, :width]
        logits = trainer.model(input_ids=shown, use_cache=False).logits
        total = total + cross_entropy(logits[0, : length - 1], ids[0, 1:length], reduction="sum")
        tokens += length - 1
    return total / tokens


@pytest.mark.parametrize(("architecture", "fields", "grouped"), CASES)
def test_loss_and_gradient_are_those_of_the_words_one_by_one(
    architecture: str, fields: dict[str, Any], grouped: bool, tmp_path: Path
) -> None:
    trainer = trainer_of(tmp_path, architecture, fields)
    trainer.group_cells = 64
    assert trainer.groups_rows == grouped
    rows = trainer.words.widths.argsort()[::5].tolist()
    batch = trainer.words.__getitems__(rows)
    runs: list[int] = []
    trainer.model.register_forward_hook(lambda *_: runs.append(1))
    loss = trainer.compute_loss(trainer.model, batch)
    assert (len(runs) > 1) == grouped
    computed = gradients(trainer, loss)
    expected_loss = one_by_one(trainer, rows, width=None if grouped else 33)
    torch.testing.assert_close(loss, expected_loss, atol=1e-6, rtol=1e-5)
    for name, gradient in gradients(trainer, expected_loss).items():
        torch.testing.assert_close(computed[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("causal", [True, False])
def test_the_loss_of_a_word_does_not_depend_on_the_longest_word_of_its_batch(causal: bool, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "linear", {"causal": causal})
    order = trainer.words.widths.argsort().tolist()
    short, long = order[0], order[-1]
    assert trainer.words.widths[short] < trainer.words.widths[long]
    alone, beside = (trainer.words.__getitems__(rows) for rows in ([short], [short, long]))
    beside["labels"][1] = -100
    torch.testing.assert_close(
        trainer.compute_loss(trainer.model, alone), trainer.compute_loss(trainer.model, beside), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("architecture", list_architectures())
def test_the_last_token_is_never_an_input(architecture: str, padded: bool, tmp_path: Path) -> None:
    """A step reads all tokens of a word with BOS and EOS, or of a padded row, except the last one."""
    trainer = trainer_of(tmp_path, architecture, {}, loss_on_padding=padded)
    longest = int(trainer.words.widths.argmax())
    inputs_of_model: list[torch.Tensor] = []
    trainer.model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: inputs_of_model.append(inputs[0]))
    trainer.compute_loss(trainer.model, trainer.words.__getitems__([longest]))
    width = 34 if padded else int(trainer.words.widths[longest])
    assert [ids.shape[1] for ids in inputs_of_model] == [width - 1]


def test_the_likelihood_of_a_model_that_looks_ahead_is_its_training_loss(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "linear", {"causal": False})
    rows = list(range(len(trainer.words)))
    trained = trainer.compute_loss(trainer.model, trainer.words.__getitems__(rows))
    measured = trainer.task.likelihood(trainer.model, "train").loss
    assert float(trained.detach()) == pytest.approx(measured, rel=1e-5)


# Several processes.


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
