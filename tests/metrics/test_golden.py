"""The golden cases, through every door."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluate
import pytest

from hf_ruleextrap import get_language, list_languages, score
from hf_ruleextrap.cli import main
from hf_ruleextrap.metrics import GOLDEN, RULE_EXTRAPOLATION

Case = dict[str, Any]
Door = Callable[[str, list[Case]], dict[str, Any]]
CASES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(GOLDEN.glob("*.json"))}


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


def found(report: dict[str, Any]) -> Case:
    """What a report of one row says, in the words of the golden file."""

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
    holds = {name: {"word": case["word"][name], "completion": case["completion_alone"][name]} for name in case["word"]}
    # An unfinished completion fails among all, and is not asked among the finished.
    ended = case["finished"]
    return {
        **{key: case[key] for key in ("empty", "parsed", "finished", "grammatical", "headline")},
        "rules": {name: {on: value and ended for on, value in of.items()} for name, of in holds.items()},
        "among finished": {
            name: {on: value if ended else None for on, value in of.items()} for name, of in holds.items()
        },
    }


def test_every_language_has_cases() -> None:
    assert list(CASES) == list_languages(tag="paper")
    for cases in CASES.values():
        assert len({(case["prompt"], case["completion"], case["finished"]) for case in cases}) == len(cases) >= 20


@pytest.mark.parametrize("language", CASES)
def test_each_case_by_itself(language: str, through_the_command_line: Door) -> None:
    for case in CASES[language]:
        for door in (through_python, through_the_command_line):
            assert found(door(language, [case])) == expected(case), case["why"]
        prompt = get_language(language).label([case["prompt"]])[0]
        assert (prompt.kind, list(prompt.open)) == (case["kind"], case["open"]), case["why"]


@pytest.mark.parametrize("language", CASES)
def test_all_cases_together_are_one_report_at_every_door(language: str, through_the_command_line: Door) -> None:
    report = through_python(language, CASES[language])
    assert report == through_evaluate(language, CASES[language]) == through_the_command_line(language, CASES[language])
    assert report["grammatical"]["hits"] == sum(case["grammatical"] for case in CASES[language])
    asked = [case["headline"] for case in CASES[language] if case["headline"] is not None]
    assert (report["headline"]["hits"], report["headline"]["n"]) == (sum(asked), len(asked))


@pytest.mark.parametrize("language", CASES)
def test_what_holds_for_nothing_at_all_is_among_the_cases(language: str) -> None:
    cases = CASES[language]

    def some(**wanted: object) -> bool:
        return any(all(case[key] == value for key, value in wanted.items()) for case in cases)

    assert some(prompt="", completion="")
    assert some(empty=True, finished=True, headline=True)
    assert some(empty=True, finished=False)
    assert some(parsed=False, finished=True)
    assert some(parsed=False, finished=False)
    assert some(finished=False, kind="ood")
    if "dyck" in language:
        assert some(kind="ood", open=[], headline=None)


def test_each_case_through_evaluate() -> None:
    for language, cases in CASES.items():
        metric = evaluate.load(RULE_EXTRAPOLATION, language, keep_in_memory=True)
        for case in cases:
            result = metric.compute(
                predictions=[case["completion"]], references=[case["prompt"]], finished=[case["finished"]]
            )
            assert found(result) == expected(case), case["why"]
