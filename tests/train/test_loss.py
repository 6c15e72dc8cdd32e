"""The loss of a batch is the mean over its words' tokens, whatever stands beside a word and however it is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TINY
from torch.nn.functional import cross_entropy

from hf_ruleextrap import build_model, list_architectures
from hf_ruleextrap.train import batches
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.task import Task
from hf_ruleextrap.train.trainer import RuleTrainer, training_arguments

# Whether words of similar length are computed together.
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
    """The definition: each word by itself, behind it as much padding as there are columns."""
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
    architecture: str, fields: dict[str, Any], grouped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_GROUP_CELLS", 64)
    trainer = trainer_of(tmp_path, architecture, fields)
    assert trainer.groups_rows == grouped
    rows = trainer.words.widths.argsort()[::5].tolist()
    batch = trainer.words.__getitems__(rows)
    runs: list[int] = []
    trainer.model.register_forward_hook(lambda *_: runs.append(1))
    loss = trainer.compute_loss(trainer.model, batch)
    assert (len(runs) > 1) == grouped
    found = gradients(trainer, loss)
    expected_loss = one_by_one(trainer, rows, width=None if grouped else 33)
    torch.testing.assert_close(loss, expected_loss, atol=1e-6, rtol=1e-5)
    for name, gradient in gradients(trainer, expected_loss).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("causal", [True, False])
def test_the_loss_of_a_word_does_not_depend_on_the_longest_word_beside_it(causal: bool, tmp_path: Path) -> None:
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
    """A step reads one token less than a word has with BOS and EOS, or one less than the padded width."""
    trainer = trainer_of(tmp_path, architecture, {}, loss_on_padding=padded)
    longest = int(trainer.words.widths.argmax())
    read: list[torch.Tensor] = []
    trainer.model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: read.append(inputs[0]))
    trainer.compute_loss(trainer.model, trainer.words.__getitems__([longest]))
    width = 34 if padded else int(trainer.words.widths[longest])
    assert [ids.shape[1] for ids in read] == [width - 1]


def test_the_likelihood_of_a_model_that_looks_ahead_is_its_training_loss(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "linear", {"causal": False})
    rows = list(range(len(trainer.words)))
    trained = trainer.compute_loss(trainer.model, trainer.words.__getitems__(rows))
    measured = trainer.task.likelihood(trainer.model, "train").loss
    assert float(trained.detach()) == pytest.approx(measured, rel=1e-5)
