"""Two models on the same prompts: paired rates, the prompts on which they differ, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import Completer, FromSource, Oracle
from hf_ruleextrap.evaluation import Evaluator
from hf_ruleextrap.evaluation.comparison import compare
from hf_ruleextrap.formal import always_stop
from hf_ruleextrap.languages import get_language

LANGUAGE = get_language("anbn")
ORACLE, STOP = Oracle(LANGUAGE), FromSource(always_stop(LANGUAGE))


@pytest.mark.parametrize(("first", "second"), [(ORACLE, STOP), (STOP, ORACLE), (STOP, STOP)])
def test_a_comparison_has_the_rates_of_two_evaluations(first: Completer, second: Completer) -> None:
    comparison = compare(first, second, LANGUAGE, prompt_length=5, max_new_symbols=12)
    evaluator = Evaluator(LANGUAGE, prompt_length=5, max_new_symbols=12)
    reports = [{c.kind: c.greedy.report for c in evaluator(model).conditions} for model in (first, second)]
    for rate in comparison.rates:
        for report, value in zip((reports[0][rate.kind], reports[1][rate.kind]), rate.rates, strict=True):
            if rate.counted.startswith("R"):
                expected = list(report.rules.values())[int(rate.counted[1]) - 1].word.all
            else:
                expected = {
                    "a word of the language": report.grammatical,
                    "every open rule holds": report.headline,
                    "completion finished": report.finished,
                }[rate.counted]
            assert (expected.rate, expected.n) == (pytest.approx(value), rate.n), rate
        assert rate.difference.mean == pytest.approx(rate.rates[0] - rate.rates[1])
        assert rate.difference.low <= rate.difference.mean <= rate.difference.high
    main_rates = [next(rate for rate in comparison.rates if rate.kind == kind) for kind in ("id", "ood")]
    assert len(comparison.prompts) == sum(rate.only_first + rate.only_second for rate in main_rates)
    assert sum(prompt.first_succeeds for prompt in comparison.prompts) == sum(rate.only_first for rate in main_rates)


def test_a_prompt_on_which_two_models_differ_shows_both_completions() -> None:
    comparison = compare(ORACLE, STOP, LANGUAGE, prompt_length=3, max_new_symbols=6)
    by_prompt = {each.prompt: each for each in comparison.prompts}
    assert by_prompt["bba"].completions[1] == ""
    assert by_prompt["bba"].first_succeeds
    completed = "bba" + by_prompt["bba"].completions[0]
    assert completed.count("a") == completed.count("b")


def test_the_compare_command_prints_a_table_and_draws_a_figure(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(tiny_run), str(tiny_run / "last"), "--prompt-length=4"]
    assert main([*command, "--out", str(tmp_path / "figure.png")]) == 0
    printed = capsys.readouterr().out
    assert "every open rule holds" in printed
    assert "[-0." in printed
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["language"] == "anbn"
    assert {rate["kind"] for rate in document["rates"]} == {"id", "ood"}


def test_invalid_arguments_of_compare_are_refused_in_one_line(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        ([str(tmp_path), str(tiny_run)], "give --language"),
        ([str(tiny_run), str(tmp_path / "none"), "--language=anbn"], "no checkpoint can be loaded"),
        ([str(tiny_run), str(tiny_run), "--out=x.gif"], "cannot draw 'x.gif'"),
        ([str(tiny_run), str(tiny_run), "--max-new-symbols=-1"], "max_new_symbols"),
        ([str(tiny_run), str(tiny_run), "--language=dyck"], "error: "),
    ):
        assert main(["compare", *words]) == 2
        errors = capsys.readouterr().err
        assert message in errors
        assert errors.count("\n") == 1
