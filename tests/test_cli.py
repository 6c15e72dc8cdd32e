from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import TINY

from hf_ruleextrap import score
from hf_ruleextrap.cli import main
from hf_ruleextrap.evaluation.table import print_table
from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.languages import list_languages

ROOT = Path(__file__).parents[1]


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def test_languages_lists_all_languages(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(output(capsys, "languages", "--json"))
    assert sorted(row["name"] for row in rows) == list_languages()
    assert [LEVELS.index(row["level"]) for row in rows] == sorted(LEVELS.index(row["level"]) for row in rows)
    anbn = next(row for row in rows if row["name"] == "anbn")
    assert [rule["summary"] for rule in anbn["rules"]] == ["as many a as b", "every a before every b"]
    text = " ".join(output(capsys, "languages").split())
    assert all(rule["summary"] in text for row in rows for rule in row["rules"])
    star_free = json.loads(output(capsys, "languages", "--level", "regular", "--tag", "star-free", "--json"))
    assert 0 < len(star_free) < len(rows)
    assert all(row["level"] == "regular" and "star-free" in row["tags"] for row in star_free)


def test_check_prints_findings_and_fails_for_a_faulty_language(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = output(capsys, "check", "anbn")
    assert text.strip().splitlines()[-1] == "anbn: all 8 checks hold"
    document = json.loads(output(capsys, "check", "dyck", "--paper", "--json"))
    assert document["holds"]
    assert all(finding["holds"] for finding in document["findings"])
    (tmp_path / "mine.py").write_text(
        "from hf_ruleextrap.languages.anbn import AnBn\nfrom hf_ruleextrap.formal import Language\n\n\n"
        'class Mine(AnBn):\n    name = "mine"\n    alive = Language.alive\n',
        encoding="utf-8",
    )
    reference = f"{tmp_path}/mine.py:Mine"
    assert main(["check", reference]) == 1
    lines = capsys.readouterr().out.strip().splitlines()
    assert any(line.startswith("FAIL  viability of the language: alive() calls 'b' viable") for line in lines)
    assert lines[-1] == "mine: 4 of 8 checks failed; correct 'viability of the language' first"
    assert main(["check", reference, "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["holds"]


def test_architectures_lists_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in json.loads(output(capsys, "architectures", "--json"))}
    assert set(rows) == {"linear", "lstm", "mamba", "transformer", "xlstm"}
    assert rows["transformer"]["parameters"]["paper"] == 154_063
    assert rows["mamba"]["model_type"] == "mamba"
    text = " ".join(output(capsys, "architectures").split())
    assert all(row["summary"] in text and row["computed_by"] in text for row in rows.values())


def test_sample_prints_words(capsys: pytest.CaptureFixture[str]) -> None:
    words = json.loads(output(capsys, "sample", "dyck", "-n", "4", "--max-length", "10", "--json"))
    assert len(words) == 4
    assert output(capsys, "sample", "dyck", "-n", "4", "--max-length", "10").split() == words


def test_prompts_prints_prompts_with_their_rules(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(output(capsys, "prompts", "anbn", "--kind", "ood", "--length", "8", "--json"))
    assert len(rows) == 251
    row = next(row for row in rows if row["text"] == "baaaaaaa")
    assert row == {"text": "baaaaaaa", "kind": "ood", "broken": ["as_before_bs"], "open": ["as_equal_bs"]}
    assert "baaaaaaa  ood  broken: R2" in output(capsys, "prompts", "anbn")


def test_chance_prints_rates(capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(output(capsys, "chance", "ban", "--kind", "ood", "--json"))
    assert report["rules"]["even_as"]["word"]["all"]["rate"] == pytest.approx(0.5)
    text = output(capsys, "chance", "ban")
    assert re.search(r"0\.50 +\d+ +R1: an even number of a", text)
    best = json.loads(output(capsys, "chance", "anbn", "--kind", "ood", "--completer", "oracle", "--json"))
    assert (best["headline"]["hits"], best["headline"]["n"]) == (247, 251)


def test_a_printed_report_is_the_table() -> None:
    report = score("anbn", ["baa", "ba"], ["b", "bb"], [True, False])
    heading, *rows = str(report).splitlines()
    assert heading.split() == ["rate", "95", "%", "interval", "n", "over", "all", "prompts"]
    assert [row.split()[0] for row in rows] == ["0.50", "0.50", "0.00", "0.00", "0.50"]
    assert rows[0].endswith("2  every open rule holds (headline)")


def test_score_reads_a_file_of_completions(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    path.write_text(
        '{"prompt": "baa", "completion": "b"}\n{"prompt": "ba", "completion": "bb", "finished": false}\n\n',
        encoding="utf-8",
    )
    report = json.loads(output(capsys, "score", str(path), "--language", "anbn", "--json"))
    assert report == score("anbn", ["baa", "ba"], ["b", "bb"], [True, False]).to_dict()
    assert re.search(r"0\.50 +\[.*\] +2 +R1: as many a as b", output(capsys, "score", str(path), "--language", "anbn"))


def test_mass_prints_cells_and_draws_a_figure(
    capsys: pytest.CaptureFixture[str], tiny_run: Path, tmp_path: Path
) -> None:
    words = ("mass", "--model", str(tiny_run), "--language", "anbn", "--max-length", "4")
    mass = json.loads(output(capsys, *words, "--json"))
    assert 0 < sum(mass[cell] for cell in ("both", "only_r1", "only_r2", "neither", "longer")) <= 1
    assert f"{mass['both']:.6f}  R1 and R2" in output(capsys, *words, "--out", str(tmp_path / "mass.png"))
    assert (tmp_path / "mass.png").stat().st_size > 5_000


def test_evaluate_prints_the_results_of_the_run(capsys: pytest.CaptureFixture[str], tiny_run: Path) -> None:
    printed = json.loads(output(capsys, "evaluate", "--model", str(tiny_run), "--language", "anbn", "--json"))
    results = json.loads((tiny_run / "results.json").read_text())
    # The command repeats the results of the run, and adds the rational learners of its training words.
    for condition in printed["conditions"]:
        assert bool(condition["rational"]) == (condition["kind"] == "ood")
        condition["rational"] = []
    common = {key: results[key] for key in ("schema_version", "references", "versions", "git_commit")}
    assert printed == {**results["best"], **common, "model": str(tiny_run)}
    text = output(capsys, "evaluate", "--model", str(tiny_run), "--language", "anbn")
    assert "as many a as b" in text
    assert "│" in text


def test_train_prints_the_table_and_the_next_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = [word for key, value in TINY.items() for word in (f"--{key}", str(value))]
    folder = tmp_path / "run"
    text = output(capsys, "train", *flags, "--output_dir", str(folder))
    assert re.search(r"every open rule +\d\.\d\d  \[", text)
    next_command, plot = text.strip().splitlines()[-2:]
    assert next_command == f"next: hf-ruleextrap evaluate --model {folder} --language anbn"
    assert plot == f"plot of the loss and the rates: {folder / 'plot.png'}"
    assert (folder / "plot.png").stat().st_size > 5_000
    printed = output(capsys, "train", *flags, "--output_dir", str(folder), "--overwrite", "--json")
    assert json.loads(printed) == json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--model", "{run}", "--language", "anbn"],
        ["discriminate", "--model", "{run}", "--language", "anbn", "--limit", "4", "--protocol", "symbols"],
        ["mass", "--model", "{run}", "--language", "anbn", "--max-length", "3"],
        ["reach", "--model", "{run}", "--language", "anbn", "--train-length", "8", "--lengths", "8", "--prompts", "2"],
        ["plot", "{run}", "--out", "{out}/run.svg"],
        ["report", "{run}/..", "--out", "{out}/report"],
        ["publish", "checkpoint", "{run}", "--to", "{out}"],
        ["publish", "dataset", "ban", "--train-size", "40", "--max-length", "16", "--to", "{out}"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_no_bar_or_notice_of_a_library_reaches_the_user(
    words: list[str], tiny_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    # An earlier command in this process may have silenced the libraries.
    logging.enable_progress_bar()
    logging.set_verbosity_warning()
    assert main([word.format(run=tiny_run, out=tmp_path) for word in words]) == 0
    assert capfd.readouterr().err == ""


OWN_LANGUAGE = """
from hf_ruleextrap.formal import Regular, count_mod, no_factor

class TripleTheNumberOfA(Regular):
    name = "triple-the-number-of-a"
    summary = "the number of a is a multiple of three, and no two b stand in a row"
    alphabet = ("a", "b")
    rules = (count_mod("a", 3, 0), no_factor("bb"))
"""


@pytest.mark.parametrize(
    "words",
    [
        "languages",
        "architectures",
        "recipes",
        "train",
        "check {own}",
        "prompts {own} --limit 3",
        "chance {own}",
        "score {completions} --language {own}",
        "explain {own} bb abb bab --seen 10 100",
        "evaluate {run} --language {own} --prompt-length 4",
        "discriminate {run} --language {own} --limit 4",
        "mass {run} --language {own} --max-length 3",
        "reach {run} --language {own} --lengths 4 8 --prompts 2 --train-length 8",
        "compare {run} {run} --language {own} --prompt-length 4",
        "plot {run} --out {out}/run.svg",
        "sweep mini --out {out}/store --dry-run",
    ],
    ids=lambda words: words.split()[0],
)
def test_the_output_of_a_command_fits_80_columns(
    words: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_own_languages.py").write_text(OWN_LANGUAGE, encoding="utf-8")
    Path("made.jsonl").write_text('{"prompt": "bb", "completion": "aaa"}\n', encoding="utf-8")
    places = {"own": "my_own_languages.py:TripleTheNumberOfA", "completions": "made.jsonl", "run": tiny_run, "out": "."}
    text = output(capsys, *words.format(**places).split())
    # A path is never wrapped.
    too_long = [line for line in text.splitlines() if len(line) > 80 and str(tiny_run) not in line]
    assert text
    assert too_long == []


def test_a_table_of_own_languages_and_five_models_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    headings = ["language", "architecture", "size", "words up to", "optimizer", "runs", "ms/step", "core-hours"]
    models = ["transformer", "xlstm", "mamba", "lstm", "linear"]
    rows = [
        ["my_own_languages.py:TripleTheNumberOfA", *(name, "paper", "256", "adamw", "3", "1036.8", "12.06")]
        for name in models
    ]
    print_table("the cost of a grid", (headings, rows), texts=("language", "architecture", "size", "optimizer"))
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert all(name in text for name in models)
    assert text.count("12.06") == 5


def test_explain_prints_the_kept_rules_for_each_learner(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "explain", "anbn", "baa")
    assert "baa (OOD): R1 alone 0.83, neither 0.17" in text
    assert text.index("rational-uniform") < text.index("rational-simple") < text.index("rational-modular")
    document = json.loads(output(capsys, "explain", "anbn", "aab", "baa", "--learner", "rational", "--json"))
    (learner,) = document["learners"].values()
    inside, outside = learner["prompts"]
    assert inside["kept"][0]["label"] == "R1 and R2"
    assert inside["completion"] == "b"
    assert outside["kept"][0] | {"probability": None} == {
        "rules": ["as_equal_bs"],
        "label": "R1 alone",
        "probability": None,
    }


def test_explain_shows_rates_after_the_first_training_words(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", "anbn", "baa", "aab", "--learner", "rational", "--max-length", "8", "--words", "32"]
    document = json.loads(output(capsys, *words, "--seen", "0", "4", "32", "--json"))
    (curve,) = document["rates_by_words"].values()
    (learner,) = document["learners"].values()
    assert document["seen"] == [0, 4, 32]
    # Each row has the rates after one number of words, and each column those of one prompt.
    assert curve[-1] == pytest.approx([prompt["open_rules_hold"] for prompt in learner["prompts"]])
    assert curve[0][0] < curve[1][0] < curve[2][0]
    text = output(capsys, *words, "--seen", "4")
    assert "every open rule holds after the first training words" in text
    assert f"{curve[1][0]:8.3f}  {curve[1][1]:8.3f}" in text.splitlines()[-1]


def test_explain_of_more_words_than_are_drawn_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "anbn", "baa", "--words", "8", "--max-length", "8", "--seen", "9"]) == 2
    assert capsys.readouterr().err.strip().endswith("the number of words seen is 9: give 0 to 8, the number of words")


def test_train_without_arguments_lists_the_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = output(capsys, "train")
    assert output(capsys, "recipes") in listed
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_quickstart_learns_its_language_and_is_above_chance(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "training/train.py"]
    process = subprocess.run(
        [*launch, "training/recipes/quickstart.yaml", "--output_dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    results = json.loads((folder / "results.json").read_text())
    inside, outside = (condition["greedy"]["report"] for condition in results["best"]["conditions"])
    assert inside["rules"]["as_equal_bs"]["word"]["all"]["rate"] == 1.0
    assert outside["finished"]["rate"] >= 0.95
    assert outside["headline"]["low"] > results["references"]["ood"]["uniform"]["headline"]["rate"]
    assert re.search(r"every open rule +\d\.\d\d  \[", process.stdout)
    assert "Traceback" not in process.stderr
