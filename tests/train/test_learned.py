"""A run states when its model has learned the language, may end some time later, and names its chosen checkpoint.

The rational learners of a run follow from its recipe, and equal those that `evaluate` shows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_ruleextrap.__main__ import main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.likelihood import Likelihood
from hf_ruleextrap.formal.rational import LEARNERS
from hf_ruleextrap.train.callbacks import LEAST_ID_R1, MOST_EXCESS, Learning, meets_criterion
from hf_ruleextrap.train.folder import RunFolder
from hf_ruleextrap.train.rational import rational_rates, resemblance_of
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results, read_log
from hf_ruleextrap.train.run import run_recipe

# Six words of anbn, which a small LSTM learns within twenty steps.
QUICK: dict[str, Any] = {
    "max_length": 12,
    "prompt_length": 4,
    "batch_size": 8,
    "learning_rate": 0.02,
    "lr_scheduler": "constant",
    "max_steps": 120,
    "eval_steps": 10,
    "stop_when_learned": 2,
    "checkpoint": "last",
    "use_cpu": True,
}


def quick(folder: Path, **values: Any) -> Recipe:
    return Recipe.of({**QUICK, "output_dir": str(folder), **values}, "test")


def evaluations(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_log(folder / "log.jsonl") if "eval_loss" in line]


def watch(outcomes: str, stop_after: int | None) -> tuple[int | None, int | None]:
    """Return the step of learning and the last step, for evaluations that meet the criterion (1) or do not (0)."""
    learning, state = Learning(stop_after), TrainerState()
    for step, outcome in enumerate(outcomes, start=1):
        control, state.global_step = TrainerControl(), step
        # The state travels through a checkpoint after each evaluation.
        state.stateful_callbacks = {"Learning": json.loads(json.dumps(learning.state()))}  # type: ignore[assignment]
        learning = Learning.of(state)
        learning.on_evaluate(TrainingArguments(), state, control, {"eval_learned": float(outcome)})
        if control.should_training_stop:
            return learning.learned_at, step
    return learning.learned_at, None


@pytest.mark.parametrize(
    ("outcomes", "stop_after", "learned_at", "end"),
    [
        ("0000", 1, None, None),
        # A single evaluation that meets the criterion may be luck.
        ("0101010", 1, None, None),
        ("0110000", None, 2, None),
        ("01111111", 1, 2, 3),
        ("01111111", 3, 2, 5),
        # The run does not end at a checkpoint that has lost what was learned.
        ("011100100", 3, 2, 7),
        ("0111000", 3, 2, None),
    ],
)
def test_learning_takes_two_evaluations_in_succession(
    outcomes: str, stop_after: int | None, learned_at: int | None, end: int | None
) -> None:
    assert watch(outcomes, stop_after) == (learned_at, end)


@pytest.mark.parametrize(
    ("r1", "finished", "excess", "is_met"),
    [
        (LEAST_ID_R1, 1.0, MOST_EXCESS, True),
        (LEAST_ID_R1 - 0.01, 1.0, 0.0, False),
        (1.0, 0.99, 0.0, False),
        # A model that has memorized the lengths of its training words.
        (1.0, 1.0, MOST_EXCESS + 0.001, False),
        (1.0, 1.0, float("nan"), False),
        (1.0, 1.0, None, True),
    ],
)
def test_the_criterion_of_learning_has_its_thresholds(
    r1: float, finished: float, excess: float | None, is_met: bool
) -> None:
    validation = Likelihood(loss=1.0, accuracy=0.5, tokens=10, excess=excess)
    assert meets_criterion({"id_r1": r1, "id_finished": finished}, validation) is is_met


def test_a_run_ends_after_learning_and_describes_its_last_checkpoint(tmp_path: Path) -> None:
    results = run_recipe(quick(tmp_path / "run"))
    training, lines = results.training, evaluations(tmp_path / "run")
    passed = [line["step"] for line in lines if line["eval_learned"]]
    assert training.learned_at == passed[0]
    assert training.steps == training.last_step == training.learned_at + 2 * QUICK["eval_steps"] == lines[-1]["step"]
    assert (training.learned, training.checkpoint, training.stopped_early) == (True, "last", True)
    assert results.chosen == results.last
    # The losses and the weights of the run folder are those of the last checkpoint.
    assert results.validation.loss == pytest.approx(lines[-1]["eval_loss"], rel=1e-6)
    weights = [tmp_path / "run" / part / "model.safetensors" for part in ("", "last")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert Results.read(tmp_path / "run") == results


def test_a_checkpoint_from_before_learning_is_not_called_learned(tmp_path: Path, monkeypatch: Any) -> None:
    # The loss of the first evaluation is the lowest, as in a run that memorizes lengths while it learns the rule.
    losses = iter([0.5, *(1 + step for step in range(100))])

    def evaluate(trainer: Any, *_: object, **__: object) -> dict[str, float]:
        step = trainer.state.global_step
        metrics = {"eval_loss": next(losses), "eval_learned": float(step > 5)}
        trainer.control = trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, metrics)
        return metrics

    monkeypatch.setattr("hf_ruleextrap.train.trainer.RuleTrainer.evaluate", evaluate)
    values = {"eval_steps": 5, "max_steps": 40, "stop_when_learned": None}
    best = run_recipe(quick(tmp_path / "best", **values, checkpoint="best")).training
    last = run_recipe(quick(tmp_path / "last", **values)).training
    assert (best.learned_at, best.best_step, best.chosen_step, best.learned) == (10, 5, 5, False)
    assert (last.learned_at, last.best_step, last.chosen_step, last.learned) == (10, 5, 40, True)


def test_a_run_that_never_learns_uses_its_budget(tmp_path: Path) -> None:
    results = run_recipe(quick(tmp_path / "run", learning_rate=1e-6, max_steps=20))
    assert (results.training.learned_at, results.training.learned) == (None, False)
    assert results.training.steps == 20
    assert not results.training.stopped_early


@pytest.mark.parametrize("stage", ["after learning", "after the last step"])
def test_a_run_killed_after_learning_ends_at_the_same_step(stage: str, tmp_path: Path, monkeypatch: Any) -> None:
    whole = run_recipe(quick(tmp_path / "whole", stop_when_learned=4))
    learned_at = whole.training.learned_at
    assert learned_at is not None
    target, kill_at = {
        "after learning": ("hf_ruleextrap.train.trainer.Progress.on_step_end", learned_at + 25),
        "after the last step": ("hf_ruleextrap.train.run.save", 0),
    }[stage]

    def power_cut(*arguments: Any, **_: object) -> None:
        if not kill_at or arguments[2].global_step >= kill_at:
            raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(target, power_cut)
        with pytest.raises(OSError, match="power cut"):
            run_recipe(quick(tmp_path / "cut", stop_when_learned=4))
    cut = run_recipe(quick(tmp_path / "cut", stop_when_learned=4))
    assert cut.training == whole.training
    for name in ("model.safetensors", "log.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


# Rational learners.


def test_evaluate_shows_the_learners_of_the_training_words(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = RunFolder(tiny_run).recipe()
    rates = rational_rates(recipe)
    assert [row.learner for row in rates.rows] == ["rational-uniform", "rational-simple", "rational-modular"]
    command = ["evaluate", "--model", str(tiny_run), "--language", recipe.language]
    limit = ["--max-new-symbols", str(recipe.completion_limit)]
    main([*command, *limit, "--seed", str(recipe.seed), "--json"])
    shown = json.loads(capsys.readouterr().out)
    of_kinds = {condition["name"]: condition["rational"] for condition in shown["conditions"]}
    assert of_kinds["id"] == []
    assert [(row["learner"], row["expected"]["rate"], row["greedy"]["rate"]) for row in of_kinds["ood"]] == [
        (row.learner, row.expected.rate, row.greedy.rate) for row in rates.rows
    ]
    main([*command, *limit])
    assert str(rates.rows[2]) in capsys.readouterr().out


def test_a_run_is_compared_with_learners_of_its_training_words(tiny_run: Path, tmp_path: Path) -> None:
    divergences = resemblance_of(tiny_run)
    assert {divergence.learner for divergence in divergences} == set(LEARNERS)
    assert divergences[0].mean == min(divergence.mean for divergence in divergences)
    assert resemblance_of(tiny_run) == divergences
    with pytest.raises(RuleExtrapError, match="holds no checkpoint of a run"):
        resemblance_of(tmp_path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"language": "dyck", "max_length": 64}, "give max_length 35 or less"),
        ({"language": "no-such-language"}, "the language no-such-language is not known here"),
        ({"language": "stranger.py:Language"}, "is not known here"),
    ],
)
def test_a_run_without_learners_states_the_reason(values: dict[str, object], reason: str) -> None:
    recipe = Recipe.model_construct(**{**Recipe().model_dump(), **values})
    rates = rational_rates(recipe)
    assert rates.rows == ()
    assert reason in rates.reason
