"""The rational learners of a run follow from its recipe, and equal those that `evaluate` shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_ruleextrap.__main__ import main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.rational import LEARNERS
from hf_ruleextrap.train.folder import RunFolder
from hf_ruleextrap.train.rational import rational_rates, resemblance_of
from hf_ruleextrap.train.recipe import Recipe


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
