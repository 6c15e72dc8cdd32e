"""Length generalisation: long prompts, rates by length, and the reach."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY

from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import Completions, LocalModel, Oracle
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.figures import new_figure
from hf_ruleextrap.evaluation.lengths import (
    REACH_KINDS,
    LengthRate,
    Reach,
    draw_reach,
    long_prompts,
    measure_reach,
    table_lines,
)
from hf_ruleextrap.formal import Language, PromptSet, Rate, WordBatch
from hf_ruleextrap.languages import get_language, list_languages
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe


class Limited(Oracle):
    """A completer that follows the oracle on prompts up to a length, and stops at once on longer prompts."""

    def __init__(self, language: Language, longest: int, most_tokens: int | None = None) -> None:
        super().__init__(language)
        self.longest, self.most_tokens = longest, most_tokens
        self.limits: list[int] = []

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        self.limits.append(max_new_symbols)
        if int(prompts.words.lengths.max()) > self.longest:
            return Completions(WordBatch.from_strings([""] * len(prompts)), np.ones(len(prompts), np.bool_))
        return super().complete(prompts, max_new_symbols=max_new_symbols, samples=samples, seed=seed)


@pytest.mark.parametrize("kind", REACH_KINDS)
@pytest.mark.parametrize("name", ["ban", "anbn", "dyck", "random-regular-7", "random-context-free-2", "tomita3"])
def test_long_prompts_have_the_requested_kind_and_length(name: str, kind: str) -> None:
    language = get_language(name)
    prompts = long_prompts(language, kind, 40, 12)  # type: ignore[arg-type]
    assert len(set(prompts.texts)) == len(prompts) <= 12
    if kind == "word":
        assert len(set(map(len, prompts.texts))) == 1
        assert 15 <= len(prompts.texts[0]) <= 20
    else:
        assert {len(text) for text in prompts.texts} == {40}
    assert language.viable(prompts.texts).all() == (kind != "ood")
    if kind == "ood":
        assert not language.viable(prompts.texts).any()
        assert language.rules[0].viable(prompts.texts).all()
        assert not language.rules[1].viable(prompts.texts).any()
        assert len(prompts) == 12
    again = long_prompts(language, kind, 40, 12)  # type: ignore[arg-type]
    assert again.texts == prompts.texts
    if name in ("ban", "random-regular-7"):
        assert long_prompts(language, kind, 40, 12, seed=1).texts != prompts.texts  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list_languages())
def test_every_language_has_long_prompts_or_a_status_with_the_reason(name: str) -> None:
    reach = measure_reach(Limited(get_language(name), 0), get_language(name), train_length=12, lengths=[24], n=8)
    for at in reach.rates:
        assert (at.rate is None) == (at.status != "ok")
        assert "\n" not in at.status
        if at.rate is not None:
            assert 1 <= at.rate.n <= 8
            assert at.chance is not None


@pytest.mark.parametrize("name", ["ban", "anbn", "random-context-free-2"])
def test_the_oracle_reaches_the_largest_length(name: str) -> None:
    language = get_language(name)
    reach = measure_reach(Oracle(language), language, train_length=10, n=10)
    for kind in REACH_KINDS:
        lengths = [at.length for at in reach.of_kind(kind)]
        assert lengths == sorted({round(factor * 10) for factor in (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4)})
        assert [at.rate.rate for at in reach.of_kind(kind) if at.rate] == [1.0] * len(lengths)
        assert reach.of(kind) == 40


def test_the_reach_of_a_limited_completer_is_its_limit() -> None:
    language = get_language("random-regular-4")
    reach = measure_reach(Limited(language, 20), language, train_length=10, n=30)
    # The longest prompts of the completer have 20 symbols, as do the halves of words of 40 symbols. On longer prompts,
    # the empty completion is as good as chance, or wrong.
    assert reach.of("id") == reach.of("ood") == 20
    assert reach.of("word") == 40
    assert [at.rate.n for at in reach.of_kind("id") if at.rate][-1] == 30
    for at in reach.rates:
        assert at.rate is not None
        assert at.rate.low is not None
        assert at.rate.high is not None
        assert at.rate.low <= at.rate.rate <= at.rate.high  # type: ignore[operator]


def rates(*values: float | None) -> Reach:
    length_rates = [
        LengthRate("id", length, 8, None if value is None else Rate(value, 0, 1, None, 9))
        for length, value in enumerate(values, start=1)
    ]
    return Reach("made", 2, tuple(reversed(length_rates)))


@pytest.mark.parametrize(
    ("values", "reach"),
    [
        ((1.0, 0.95, 0.96), 3),
        ((1.0, 0.949, 1.0), 1),
        ((1.0, None, 1.0), 1),
        ((0.9, 1.0, 1.0), None),
        ((None, 1.0), None),
        ((), None),
    ],
)
def test_the_reach_ends_where_a_rate_first_falls(values: tuple[float | None, ...], reach: int | None) -> None:
    assert rates(*values).of("id") == reach


def test_prompts_beyond_the_positions_of_a_model_have_a_status() -> None:
    language = get_language("anbn")
    limited = Limited(language, 1000, most_tokens=17)
    reach = measure_reach(limited, language, train_length=8, lengths=[8, 12, 16, 32], n=5)
    by_length = {at.length: at for at in reach.of_kind("id")}
    # The model reads 17 tokens: BOS, the prompt, and all new symbols but the last.
    assert [by_length[length].max_new_symbols for length in (8, 12)] == [8, 4]
    assert "the model has 17 positions, too few for a prompt of 16 symbols" in by_length[16].status
    assert by_length[32].rate is None
    assert max(limited.limits) <= 16


def test_an_error_of_the_completer_becomes_a_status() -> None:
    class Refuses(Oracle):
        def complete(self, *_: object, **__: object) -> Completions:  # type: ignore[override]
            raise ValueError("no more than 3 tokens\nand so on")

    language = get_language("ban")
    reach = measure_reach(Refuses(language), language, train_length=4, lengths=[4], n=3)
    assert {at.status for at in reach.rates} == {"no more than 3 tokens"}
    assert reach.to_dict()["reach"] == {"id": None, "ood": None, "word": None}


def test_the_reach_is_printed_and_drawn() -> None:
    language = get_language("ban")
    reach = measure_reach(Limited(language, 8, most_tokens=20), language, train_length=4, n=10)
    text = "\n".join(table_lines(reach))
    assert "ID prompts that become words: reach 8 (trained on up to 4)" in text
    assert "symbols  rate  95 % interval     n  chance  finished" in text
    reach = replace(reach, rates=(*reach.rates, LengthRate("id", 99, 0, status="too long")))
    assert "     99     -  too long" in "\n".join(table_lines(reach))
    figure = new_figure(9, 3, "")
    draw_reach(figure, reach)
    assert [axes.get_xlabel() for axes in figure.axes] == ["symbols in the prompt"] * 2 + ["symbols in the word"]
    assert figure.axes[0].get_ylabel() == "share of prompts"
    assert {"rate", "chance", "95 % interval"} < {text.get_text() for text in figure.legends[0].get_texts()}
    json.dumps(reach.to_dict())


@pytest.mark.parametrize("mistake", [{"train_length": 0}, {"n": 0}, {"lengths": [0, 4]}, {"lengths": []}])
def test_invalid_lengths_are_refused_in_one_line(mistake: dict[str, object]) -> None:
    language = get_language("ban")
    arguments = {"train_length": 4, "lengths": [4], "n": 2, **mistake}
    with pytest.raises(RuleExtrapError, match="give 1 or more"):
        measure_reach(Oracle(language), language, **arguments)  # type: ignore[arg-type]


def test_the_reach_command_prints_json_and_draws_a_figure(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reach", "--model", str(tiny_run), "--language", "anbn", "--prompts", "5"]
    assert main([*command, "--json", "--out", str(tmp_path / "reach.png")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["train_length"] == 16
    assert {at["length"] for at in document["rates"]} == {4, 8, 12, 16, 24, 32, 48, 64}
    assert (tmp_path / "reach.png").read_bytes().startswith(b"\x89PNG")
    assert main([*command, "--lengths", "8", "--train-length", "6"]) == 0
    assert "trained on up to 6" in capsys.readouterr().out
    assert main([*command, "--lengths", "0"]) == 2
    assert "give 1 or more" in capsys.readouterr().err


def test_the_reach_command_respects_fixed_positions_and_requires_a_training_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"architecture": "linear", "model": {"max_position_embeddings": 40}, "max_steps": 4, "eval_steps": 4}
    run_recipe(Recipe.of({**TINY, **small, "output_dir": str(tmp_path)}, "test"))
    command = ["reach", "--model", str(tmp_path), "--language", "anbn", "--prompts", "3", "--json"]
    assert main(command) == 0
    rows = json.loads(capsys.readouterr().out)["rates"]
    model = LocalModel.from_pretrained(tmp_path, get_language("anbn"))
    assert model.most_tokens == 40
    for at in rows:
        assert (at["rate"] is None) == ("positions, too few" in at["status"])
    assert any(at["rate"] is None for at in rows)
    assert any(at["rate"] is not None for at in rows)
    (tmp_path / "recipe.yaml").unlink()
    assert main(command) == 2
    assert "pass --train-length" in capsys.readouterr().err
