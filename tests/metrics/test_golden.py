"""The golden cases have the expected verdicts in Python, with the evaluate library and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest

from hf_ruleextrap import get_language, list_languages, score
from hf_ruleextrap.cli import main
from hf_ruleextrap.metrics import GOLDEN, RULE_EXTRAPOLATION

Case = dict[str, Any]
Door = Callable[[str, list[Case]], dict[str, Any]]
CASES: dict[str, list[Case]] = json.loads(GOLDEN.read_text(encoding="utf-8"))


def through_python(language: str, cases: list[Case]) -> dict[str, Any]:
    return score(language, *([case[key] for case in cases] for key in ("prompt", "completion", "finished"))).to_dict()


def through_evaluate(language: str, cases: list[Case]) -> dict[str, Any]:
    prompts, completions, finished = ([case[key] for case in cases] for key in ("prompt", "completion", "finished"))
    metric = evaluate.load(RULE_EXTRAPOLATION, language, keep_in_memory=True)
    return metric.compute(predictions=completions, references=prompts, finished=finished)


@pytest.fixture
def through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Door:
    def door(language: str, cases: list[Case]) -> dict[str, Any]:
        lines = [json.dumps({key: case[key] for key in ("prompt", "completion", "finished")}) for case in cases]
        (tmp_path / "cases.jsonl").write_text("\n".join(lines), encoding="utf-8")
        assert main(["score", str(tmp_path / "cases.jsonl"), "--language", language, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return door


def verdicts(report: dict[str, Any]) -> Case:
    """Return the verdicts of a report of one row, under the keys of the golden file."""

    def verdict(rate: dict[str, Any]) -> bool | None:
        return None if rate["n"] == 0 else bool(rate["hits"])

    return {
        "empty": verdict(report["empty"]),
        "parsed": not verdict(report["unparsable"]),
        "finished": verdict(report["finished"]),
        "grammatical": verdict(report["grammatical"]),
        "headline": verdict(report["headline"]),
        "rules": {
            name: {on: verdict(rule[on]["all"]) for on in ("word", "completion")}
            for name, rule in report["rules"].items()
        },
        "among finished": {
            name: {on: verdict(rule[on]["finished"]) for on in ("word", "completion")}
            for name, rule in report["rules"].items()
        },
    }


def expected(case: Case) -> Case:
    """Return the verdicts that a golden case expects."""
    holds = {name: {"word": case["word"][name], "completion": case["completion_alone"][name]} for name in case["word"]}
    # An unfinished completion is a failure among all completions, and does not count among finished completions.
    ended = case["finished"]
    return {
        **{key: case[key] for key in ("empty", "parsed", "finished", "grammatical", "headline")},
        "rules": {name: {on: value and ended for on, value in by_part.items()} for name, by_part in holds.items()},
        "among finished": {
            name: {on: value if ended else None for on, value in by_part.items()} for name, by_part in holds.items()
        },
    }


def test_every_language_of_the_paper_has_golden_cases() -> None:
    assert list(CASES) == list_languages(tag="paper")
    for cases in CASES.values():
        assert len({(case["prompt"], case["completion"], case["finished"]) for case in cases}) == len(cases) >= 20


@pytest.mark.parametrize("language", CASES)
def test_each_golden_case_has_its_verdicts(language: str, through_the_command_line: Door) -> None:
    for case in CASES[language]:
        for door in (through_python, through_the_command_line):
            assert verdicts(door(language, [case])) == expected(case), case["why"]
        prompt = get_language(language).label([case["prompt"]])[0]
        assert (prompt.kind, list(prompt.open)) == (case["kind"], case["open"]), case["why"]


@pytest.mark.parametrize("language", CASES)
def test_all_golden_cases_give_one_report_in_every_interface(language: str, through_the_command_line: Door) -> None:
    report = through_python(language, CASES[language])
    assert report == through_evaluate(language, CASES[language]) == through_the_command_line(language, CASES[language])
    assert report["grammatical"]["hits"] == sum(case["grammatical"] for case in CASES[language])
    in_headline = [case["headline"] for case in CASES[language] if case["headline"] is not None]
    assert (report["headline"]["hits"], report["headline"]["n"]) == (sum(in_headline), len(in_headline))


@pytest.mark.parametrize("language", CASES)
def test_the_golden_cases_cover_empty_and_unfinished_completions(language: str) -> None:
    cases = CASES[language]

    def some(**values: object) -> bool:
        return any(all(case[key] == value for key, value in values.items()) for case in cases)

    assert some(prompt="", completion="")
    assert some(empty=True, finished=True, headline=True)
    assert some(empty=True, finished=False)
    assert some(parsed=False, finished=True)
    assert some(parsed=False, finished=False)
    assert some(finished=False, kind="ood")
    if "dyck" in language:
        assert some(kind="ood", open=[], headline=None)


def test_each_golden_case_has_its_verdicts_in_evaluate() -> None:
    for language, cases in CASES.items():
        metric = evaluate.load(RULE_EXTRAPOLATION, language, keep_in_memory=True)
        for case in cases:
            result = metric.compute(
                predictions=[case["completion"]], references=[case["prompt"]], finished=[case["finished"]]
            )
            assert verdicts(result) == expected(case), case["why"]


# The allowed values of finished, and the reading of files.

FLAGS = [
    (True, True),
    (False, False),
    (1, True),
    (0, False),
    ("true", True),
    ("False", False),
    ("FALSE", False),
    ("0", False),
]


@pytest.mark.parametrize(("flag", "expected_value"), FLAGS)
def test_each_finished_flag_has_one_meaning_in_every_interface(
    flag: object,
    expected_value: bool,
    through_the_command_line: Door,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = {"prompt": "baa", "completion": "b", "finished": flag}
    for door in (through_python, through_evaluate, through_the_command_line):
        assert door("anbn", [case])["finished"]["hits"] == expected_value
    (tmp_path / "cases.csv").write_text(f"prompt,completion,finished\nbaa,b,{flag}\n", encoding="utf-8")
    assert main(["score", str(tmp_path / "cases.csv"), "--language", "anbn", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finished"]["hits"] == expected_value


@pytest.mark.parametrize("flag", ["no", "", "yes", None, 2, 0.5, float("nan"), [True]])
def test_an_invalid_finished_flag_is_refused_with_its_row(
    flag: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"finished, row 1, is .*: give true or false"):
        score("anbn", ["baa", "baa"], ["b", "b"], [True, flag])
    metric = evaluate.load(RULE_EXTRAPOLATION, "anbn", keep_in_memory=True)
    with pytest.raises(ValueError, match=r"finished, row 1, is .*: give true or false"):
        metric.compute(predictions=["b", "b"], references=["baa", "baa"], finished=[True, flag])
    row = json.dumps({"prompt": "baa", "completion": "b", "finished": flag})
    (tmp_path / "cases.jsonl").write_text(f'{{"prompt": "baa", "completion": "b"}}\n{row}\n', encoding="utf-8")
    assert main(["score", str(tmp_path / "cases.jsonl"), "--language", "anbn"]) == 2
    error = capsys.readouterr().err
    assert "line 2: finished is " in error
    assert error.count("\n") == 1


def test_finished_flags_must_be_a_list() -> None:
    for flags in ("tf", True, np.array(True), np.ones((2, 1))):
        with pytest.raises(ValueError, match="finished"):
            score("anbn", ["baa", "baa"], ["b", "b"], flags)  # type: ignore[arg-type]
    for flags in (np.array([1, 0]), np.array([True, False]), (1.0, 0.0)):
        assert score("anbn", ["baa", "baa"], ["b", "b"], flags).finished.hits == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_only_a_line_feed_ends_a_line_and_a_byte_order_mark_is_ignored(
    letter: str, mark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    completion = f"b{letter}" if letter >= " " else f"b{json.dumps(letter)[1:-1]}"
    lines = f'{mark}{{"prompt": "baa", "completion": "{completion}"}}\r\n{{"prompt": "baa", "completion": "b"}}'
    (tmp_path / "cases.jsonl").write_bytes(lines.encode())
    assert main(["score", str(tmp_path / "cases.jsonl"), "--language", "anbn", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n"], report["unparsable"]["hits"], report["headline"]["hits"]) == (2, 1, 1)


@pytest.mark.parametrize("completions", [[[], []], [(), ()], np.zeros((2, 0), int), np.zeros((2, 0)), [[], [1]]])
def test_empty_lists_of_ids_are_empty_words(completions: Any) -> None:
    report = score("anbn", [[1, 0, 0], [1, 0]], completions)
    assert report.empty.hits == 2 - sum(len(ids) > 0 for ids in completions)
    assert report.unparsable.hits == 0
