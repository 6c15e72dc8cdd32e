"""Training on a stream of fresh words, and its prequential code length."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import outcome
from torch import nn
from transformers import IntervalStrategy, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.likelihood import token_rows
from hf_ruleextrap.evaluation.prequential import code_length, data_nats
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.tokenization import EOS_ID, SPECIAL_TOKENS
from hf_ruleextrap.train import callbacks
from hf_ruleextrap.train.callbacks import Meter
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results
from hf_ruleextrap.train.run import run_recipe
from hf_ruleextrap.train.task import Task, splits_of
from hf_ruleextrap.train.trainer import RuleTrainer, training_arguments

STREAM = {"stream": True, "max_length": 12, "held_out_size": 16, "max_steps": 24, "eval_steps": 8, "batch_size": 16}


def recipe(folder: Path, **values: Any) -> Recipe:
    return Recipe.of({**STREAM, "output_dir": str(folder), **values}, "test")


def test_the_stream_is_the_same_for_every_architecture_and_repeats_the_words_of_a_small_language(
    tmp_path: Path,
) -> None:
    language = get_language("anbn")
    lstm, linear = (splits_of(recipe(tmp_path, architecture=name), language).train for name in ("lstm", "linear"))
    assert list(lstm) == list(linear)
    assert len(lstm) == 24 * 16
    assert len(set(lstm)) == 6
    other = splits_of(recipe(tmp_path, seed=1), language).train
    assert list(other) != list(lstm)


def test_the_results_of_a_stream_state_its_code_length(tmp_path: Path) -> None:
    results = run_recipe(recipe(tmp_path / "run", learning_rate=0.01))
    code = results.code_length
    assert code is not None
    language = get_language("anbn")
    stream = splits_of(results.recipe, language).train
    assert code.words == len(stream)
    assert code.tokens == int((stream.lengths + 1).sum())
    # Each word is one of six equally likely words.
    assert code.data == pytest.approx(len(stream) * math.log(6))
    assert code.data < code.nats < code.uniform
    assert code.curve[0] == (
        int((stream.lengths[:16] + 1).sum()),
        pytest.approx((stream.lengths[:16] + 1).sum() * math.log(3) - 16 * math.log(6)),
    )
    assert Results.read(tmp_path / "run").code_length == code


def test_a_model_with_uniform_predictions_pays_the_uniform_code() -> None:
    meter = Meter(2)
    labels = torch.tensor([[4, 5, 2, -100], [5, 2, -100, -100]])
    labels = torch.where(labels > 2, labels - 4 + len(SPECIAL_TOKENS), labels)
    meter.add(torch.zeros(2, 4, 8), labels)
    meter.on_step_end(_one_process(), None, None)  # type: ignore[arg-type]  # not used
    assert meter.nats == [pytest.approx(5 * math.log(3), rel=1e-15)]


class TheLanguage(PreTrainedModel):
    """A network with the distribution of the language, computed from the list of its words."""

    config_class = PretrainedConfig

    def __init__(self, language: Language, max_length: int) -> None:
        super().__init__(PretrainedConfig(vocab_size=len(SPECIAL_TOKENS) + len(language.alphabet)))
        self.unused = nn.Parameter(torch.zeros(1))
        words = WordBatch.from_strings(list(language.words(max_length)))
        logs = language.log_probability(words, max_length)
        assert logs is not None
        # The probability that a word starts with these tokens; the last token of a word is EOS.
        self.mass: Counter[tuple[int, ...]] = Counter()
        for row, probability in zip(token_rows(words, language).tolist(), np.exp(logs), strict=True):
            for end in range(1, row.index(EOS_ID) + 2):
                self.mass[tuple(row[:end])] += probability
        # transformers sets the keys of tied weights here.
        self.post_init()

    def forward(self, input_ids: torch.Tensor, **_: Any) -> CausalLMOutput:
        tokens = range(self.config.vocab_size)
        mass = [
            [[self.mass[(*row[: end + 1], token)] for token in tokens] for end in range(len(row))]
            for row in input_ids.tolist()
        ]
        # A tiny number stands for 0, whose logarithm would be infinite.
        return CausalLMOutput(logits=torch.tensor(mass, dtype=torch.float64).clamp(min=1e-300).log() + 0 * self.unused)


@pytest.mark.parametrize("name", ["ban", "dyck"])
def test_a_network_that_is_the_language_pays_the_entropy_alone(name: str, tmp_path: Path) -> None:
    settings = recipe(tmp_path, language=name, max_length=8, max_steps=6)
    task = Task.of(settings)
    arguments = training_arguments(settings)
    # The network cannot complete prompts, so that the training does not evaluate.
    arguments.eval_strategy = arguments.save_strategy = IntervalStrategy.NO
    arguments.load_best_model_at_end = False
    trainer = RuleTrainer(TheLanguage(task.language, 8), task, arguments)
    trainer.train()
    stream = task.splits.train
    own = data_nats(stream, task.language, 8).reshape(6, 16).sum(axis=1)
    assert trainer.meter.nats == pytest.approx(own, rel=1e-12)
    code = code_length(trainer.meter.nats, stream, task.language, batch_size=16, max_length=8)
    first = (stream.lengths[:16] + 1).sum() * math.log(len(task.language.alphabet) + 1) - own[0]
    # Every learner pays for the first batch with the uniform code.
    assert code.excess == pytest.approx(first, abs=1e-9)
    assert task.likelihood(trainer.model, "test").excess == pytest.approx(0, abs=1e-6)


def _one_process() -> Any:
    class Arguments:
        world_size = 1

    return Arguments()


def test_an_interrupted_run_has_the_same_code_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_recipe(recipe(tmp_path / "whole"))
    evaluate, calls = callbacks.JsonLog.on_log, 0

    def stop_once(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        evaluate(self, *args, **kwargs)
        if calls == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.JsonLog, "on_log", stop_once)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe(tmp_path / "cut"))
    monkeypatch.undo()
    resumed = run_recipe(recipe(tmp_path / "cut"))
    assert resumed.code_length == whole.code_length
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"disjoint": True}, "disjoint is True, which a stream of fresh words cannot use"),
        ({"train_size": 64}, "train_size is 64"),
        ({"objective": "oracle"}, "objective is 'oracle'"),
        ({"stream": False, "settings_tried": 3}, "settings_tried is part of the code length of a stream"),
        ({"max_steps": 10**9}, "would take"),
    ],
)
def test_keys_that_a_stream_cannot_use_are_refused_in_one_line(
    tmp_path: Path, values: dict[str, Any], line: str
) -> None:
    with pytest.raises(RuleExtrapError, match=line):
        run_recipe(recipe(tmp_path, **values))


def test_the_recipe_of_a_stream_can_be_read_again(tmp_path: Path) -> None:
    written = recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text(written.to_yaml())
    assert Recipe.from_file(tmp_path / "recipe.yaml") == written
    assert json.loads(written.model_dump_json())["disjoint"] is False


def test_the_first_batch_is_paid_with_the_uniform_code_whatever_the_model(tmp_path: Path) -> None:
    firsts = [
        run_recipe(recipe(tmp_path / name, architecture=name, max_steps=2, eval_steps=2)).code_length
        for name in ("lstm", "transformer")
    ]
    assert firsts[0] is not None
    assert firsts[1] is not None
    assert firsts[0].curve[0] == firsts[1].curve[0]
    assert np.isfinite(firsts[0].nats)
