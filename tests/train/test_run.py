from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TINY, differences, outcome
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.completers import LocalModel
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluator
from hf_ruleextrap.evaluation.likelihood import measure_likelihood
from hf_ruleextrap.languages import get_language, list_languages
from hf_ruleextrap.train import callbacks
from hf_ruleextrap.train.batches import by_length
from hf_ruleextrap.train.console import show_results
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results
from hf_ruleextrap.train.run import run_recipe
from hf_ruleextrap.train.task import Task, splits_of
from hf_ruleextrap.train.trainer import RuleTrainer, training_arguments


def recipe(folder: Path, **values: Any) -> Recipe:
    return Recipe.of({**TINY, "output_dir": str(folder), **values}, "test")


def test_a_finished_run_folder_holds_the_expected_files(tiny_run: Path) -> None:
    names = {path.name for path in tiny_run.iterdir()}
    assert {"results.json", "log.jsonl", "recipe.yaml", "model.safetensors", "config.json", "tokenizer.json"} <= names
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {p.name for p in (tiny_run / "last").iterdir()}
    assert not [name for name in names if name.startswith("checkpoint") or name.endswith((".bin", ".pt", ".part"))]
    assert Recipe.from_file(tiny_run / "recipe.yaml") == Results.read(tiny_run).recipe


def test_the_folder_is_a_checkpoint_for_the_auto_classes(tiny_run: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_run)
    tokenizer = AutoTokenizer.from_pretrained(tiny_run)
    assert model.config.use_cache
    output = model.generate(**tokenizer(["aab"], return_tensors="pt"), do_sample=False)
    assert tokenizer.decode(output[0]).startswith("<bos>aab")


def test_the_checkpoint_has_the_rates_of_the_results(tiny_run: Path) -> None:
    results, language = Results.read(tiny_run), get_language("anbn")
    train_words = splits_of(results.recipe, language).train
    for folder, expected in ((tiny_run, results.best), (tiny_run / "last", results.last)):
        model = LocalModel.from_pretrained(folder, language)
        assert model.default_limit == expected.main.settings.max_new_symbols
        evaluation = Evaluator(language, max_new_symbols=model.default_limit, train_words=train_words)(model)
        assert evaluation.conditions == expected.conditions


def test_the_best_checkpoint_has_the_lowest_validation_loss_and_the_last_is_the_final_one(tiny_run: Path) -> None:
    results = Results.read(tiny_run)
    lines = [json.loads(line) for line in (tiny_run / "log.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line}
    assert sorted(losses) == [10, 20]
    assert results.validation.loss == pytest.approx(min(losses.values()), abs=1e-7)
    assert losses[results.training.best_step] == min(losses.values())
    last = AutoModelForCausalLM.from_pretrained(tiny_run / "last")
    task = Task.of(results.recipe)
    assert task.likelihood(last, "validation").loss == pytest.approx(losses[20], abs=1e-7)


def test_the_same_seed_gives_the_same_weights_and_results(tiny_run: Path, tmp_path: Path) -> None:
    run_recipe(recipe(tmp_path / "again"))
    weights = [(folder / "model.safetensors").read_bytes() for folder in (tiny_run, tmp_path / "again")]
    assert weights[0] == weights[1]
    assert not differences(outcome(tiny_run), outcome(tmp_path / "again"))
    run_recipe(recipe(tmp_path / "other", seed=1))
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != weights[0]


def test_an_interrupted_run_resumes_and_ends_with_the_same_bytes(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(Exception):
        pass

    def pull_the_plug(_self: object, _args: object, state: Any, *_: object, **__: object) -> None:
        if state.global_step == 13:
            raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.JsonLog, "on_step_end", pull_the_plug)
        with pytest.raises(PowerCut):
            run_recipe(recipe(tmp_path / "cut"))
    assert not (tmp_path / "cut" / "results.json").exists()
    run_recipe(recipe(tmp_path / "cut"))
    for file in ("model.safetensors", "last/model.safetensors", "log.jsonl"):
        assert (tmp_path / "cut" / file).read_bytes() == (tiny_run / file).read_bytes(), file
    assert not differences(outcome(tmp_path / "cut"), outcome(tiny_run))


@pytest.mark.parametrize("architecture", ["lstm", "transformer"])
@pytest.mark.parametrize("language", [*list_languages(tag="paper"), "flipflop", "markedcopy"])
def test_every_language_trains_with_an_architecture(language: str, architecture: str, tmp_path: Path) -> None:
    values = {"language": language, "architecture": architecture, "max_length": 24, "max_steps": 2, "eval_steps": 2}
    results = run_recipe(recipe(tmp_path / "run", **values))
    assert results.best.kinds["ood"].greedy.report.headline.n > 0
    assert np.isfinite(results.test.loss)


def test_any_causal_model_of_transformers_trains_by_name(tmp_path: Path) -> None:
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    run_recipe(recipe(tmp_path / "run", architecture="gpt2", model=size, max_steps=2, eval_steps=2))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run").config.model_type == "gpt2"


def test_early_stopping_stops_and_is_reported(tmp_path: Path) -> None:
    # With this learning rate, the loss only rises after the first evaluation.
    results = run_recipe(recipe(tmp_path / "run", patience=1, learning_rate=10.0, max_steps=100, eval_steps=5))
    assert results.training.stopped_early
    assert results.training.steps < 100


def test_loss_on_padding_counts_every_position(tmp_path: Path) -> None:
    with_padding = Task.of(recipe(tmp_path, loss_on_padding=True))
    rows = with_padding.rows("train", full=True)
    assert rows.shape[1] == TINY["max_length"] + 2
    from hf_ruleextrap.architectures import build_model

    lstm = build_model("lstm", language="anbn", seed=0).eval()
    measured = measure_likelihood(lstm, rows, count_padding=True)
    ids = torch.from_numpy(rows)
    expected = lstm(input_ids=ids, labels=ids).loss.item()
    assert measured.tokens == rows.shape[0] * (rows.shape[1] - 1)
    assert measured.loss == pytest.approx(expected, rel=1e-5)
    assert measure_likelihood(lstm, rows).tokens == int((with_padding.splits.train.lengths + 1).sum())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"language": "annbn"}, "unknown language 'annbn': did you mean 'anbn'"),
        ({"architecture": "lstn"}, "unknown architecture 'lstn': did you mean 'lstm'"),
        ({"model": {"hiden_size": 3}}, "hidden_size"),
        ({"max_length": 1}, "give max_length >= 2"),
        ({"prompt_length": 30}, "too many"),
    ],
)
def test_an_invalid_recipe_is_refused_before_the_folder_is_created(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RuleExtrapError, match=message) as caught:
        run_recipe(recipe(tmp_path / "run", **values))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_content_is_not_changed(tiny_run: Path, tmp_path: Path) -> None:
    before = (tiny_run / "results.json").read_bytes()
    with pytest.raises(RuleExtrapError, match="already holds a finished run"):
        run_recipe(recipe(tiny_run, seed=7))
    # The same recipe is not trained again.
    assert run_recipe(recipe(tiny_run)) == Results.read(tiny_run)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "recipe.yaml").write_text(recipe(tmp_path / "cut", seed=7).to_yaml())
    with pytest.raises(RuleExtrapError, match=r"another run .*differs in seed"):
        run_recipe(recipe(tmp_path / "cut"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(RuleExtrapError, match="not empty and holds no run"):
            run_recipe(recipe(tmp_path / "mine"), overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    assert (tiny_run / "results.json").read_bytes() == before


def test_overwrite_replaces_a_run(tmp_path: Path) -> None:
    short = {"max_steps": 2, "eval_steps": 2}
    run_recipe(recipe(tmp_path / "run", **short))
    assert run_recipe(recipe(tmp_path / "run", **short, seed=1), overwrite=True).recipe.seed == 1


@pytest.mark.parametrize("architecture", ["lstm", "transformer", "mamba", "xlstm", "linear"])
def test_a_batch_in_groups_of_similar_length_has_the_same_loss_and_gradient(architecture: str, tmp_path: Path) -> None:
    task = Task.of(recipe(tmp_path, architecture=architecture))
    computed = []
    for cells in (10**9, 40):
        model = build_model(architecture, language=task.language, seed=0)
        trainer = RuleTrainer(model.eval(), task, training_arguments(task.recipe))
        trainer.group_cells = cells
        batch = trainer.train_dataset.__getitems__(list(range(len(task.splits.train))))
        assert (len(by_length(batch, batch["labels"].shape[1], cells)) == 1) == (cells > 40)
        for count in (None, (batch["labels"] != -100).sum()):
            model.zero_grad()
            loss = trainer.compute_loss(model, batch, num_items_in_batch=count)
            loss.backward()
            computed.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
    for tensors in computed[1:]:
        for tensor, expected in zip(tensors, computed[0], strict=True):
            torch.testing.assert_close(tensor, expected, atol=1e-6, rtol=1e-4)


def test_a_parameter_budget_is_met_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = run_recipe(recipe(tmp_path, architecture="transformer", parameters=12_000, max_steps=1, eval_steps=1))
    assert abs(results.training.parameters - 12_000) <= 600
    assert set(results.training.fitted) == {"hidden_size", "intermediate_size"}
    show_results(results)
    assert f"hidden_size {results.training.fitted['hidden_size']}" in capsys.readouterr().out


def trainer_of(settings: Recipe) -> RuleTrainer:
    model = build_model("lstm", language=settings.language, seed=0)
    return RuleTrainer(model, Task.of(settings), training_arguments(settings))


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_a_schedule_counts_steps_or_epochs(per: str, tmp_path: Path) -> None:
    """The schedule of arXiv 2409.13728 is an inverse square root that begins at 0 and peaks after the warm-up."""
    values = {"language": "ban", "train_size": 64, "batch_size": 16, "lr_scheduler": "inverse_sqrt", "warmup_steps": 2}
    trainer = trainer_of(recipe(tmp_path, **values, learning_rate=0.5, schedule_per=per, max_steps=40))
    optimizer = trainer.create_optimizer()
    scheduler = trainer.create_scheduler(40)
    assert trainer.create_scheduler(40) is scheduler
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    # Four batches are an epoch.
    counts = [step // (4 if per == "epoch" else 1) for step in range(40)]
    assert rates == pytest.approx([0.5 * (n / 2 if n < 2 else (2 / n) ** 0.5) for n in counts])


def test_a_schedule_per_epoch_resumes_at_its_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"language": "ban", "train_size": 64, "batch_size": 16, "lr_scheduler": "inverse_sqrt"}
    values |= {"warmup_steps": 2, "schedule_per": "epoch"}
    run_recipe(recipe(tmp_path / "whole", **values))
    cut = recipe(tmp_path / "cut", **values)
    original = callbacks.JsonLog.on_log

    def stop(self: callbacks.JsonLog, args: Any, state: Any, *rest: Any, **more: Any) -> None:
        if state.global_step > 10:
            raise KeyboardInterrupt
        original(self, args, state, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(callbacks.JsonLog, "on_log", stop)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(cut)
    run_recipe(cut)
    assert not differences(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", "AdamW"), ("sgd", "SGD"), ("adafactor", "Adafactor"), ("adagrad", "Adagrad"), ("rmsprop", "RMSprop")],
)
def test_the_optimizer_is_that_of_the_recipe(name: str, kind: str, tmp_path: Path) -> None:
    optimizer = trainer_of(recipe(tmp_path, optimizer=name)).create_optimizer()
    assert type(optimizer).__name__ == kind
    if name == "sgd":
        assert optimizer.param_groups[0]["momentum"] == 0
