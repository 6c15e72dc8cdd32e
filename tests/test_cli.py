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
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.recipe_files import OTHER_NAMES

ROOT = Path(__file__).parents[1]


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def test_languages(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(output(capsys, "languages", "--json"))
    assert sorted(row["name"] for row in rows) == list_languages()
    assert [LEVELS.index(row["level"]) for row in rows] == sorted(LEVELS.index(row["level"]) for row in rows)
    anbn = next(row for row in rows if row["name"] == "anbn")
    assert [rule["summary"] for rule in anbn["rules"]] == ["as many a as b", "every a before every b"]
    text = " ".join(output(capsys, "languages").split())
    assert all(rule["summary"] in text for row in rows for rule in row["rules"])
    some = json.loads(output(capsys, "languages", "--level", "regular", "--tag", "star-free", "--json"))
    assert 0 < len(some) < len(rows)
    assert all(row["level"] == "regular" and "star-free" in row["tags"] for row in some)


def test_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = output(capsys, "check", "anbn")
    assert text.strip().splitlines()[-1] == "anbn: all 8 checks hold"
    found = json.loads(output(capsys, "check", "dyck", "--paper", "--json"))
    assert found["holds"]
    assert all(finding["holds"] for finding in found["findings"])
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


def test_architectures(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in json.loads(output(capsys, "architectures", "--json"))}
    assert set(rows) == {"linear", "lstm", "mamba", "transformer", "xlstm"}
    assert rows["transformer"]["parameters"]["paper"] == 154_063
    assert rows["mamba"]["model_type"] == "mamba"
    text = " ".join(output(capsys, "architectures").split())
    assert all(row["summary"] in text and row["computed_by"] in text for row in rows.values())


def test_sample(capsys: pytest.CaptureFixture[str]) -> None:
    words = json.loads(output(capsys, "sample", "dyck", "-n", "4", "--max-length", "10", "--json"))
    assert len(words) == 4
    assert output(capsys, "sample", "dyck", "-n", "4", "--max-length", "10").split() == words


def test_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(output(capsys, "prompts", "anbn", "--kind", "ood", "--length", "8", "--json"))
    assert len(rows) == 251
    row = next(row for row in rows if row["text"] == "baaaaaaa")
    assert row == {"text": "baaaaaaa", "kind": "ood", "broken": ["as_before_bs"], "open": ["as_equal_bs"]}
    assert "baaaaaaa  ood  broken: R2" in output(capsys, "prompts", "anbn")


def test_chance(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_score(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    path.write_text(
        '{"prompt": "baa", "completion": "b"}\n{"prompt": "ba", "completion": "bb", "finished": false}\n\n',
        encoding="utf-8",
    )
    report = json.loads(output(capsys, "score", str(path), "--language", "anbn", "--json"))
    assert report == score("anbn", ["baa", "ba"], ["b", "bb"], [True, False]).to_dict()
    assert re.search(r"0\.50 +\[.*\] +2 +R1: as many a as b", output(capsys, "score", str(path), "--language", "anbn"))


def test_mass(capsys: pytest.CaptureFixture[str], tiny_run: Path, tmp_path: Path) -> None:
    words = ("mass", "--model", str(tiny_run), "--language", "anbn", "--max-length", "4")
    mass = json.loads(output(capsys, *words, "--json"))
    assert 0 < sum(mass[cell] for cell in ("both", "only_r1", "only_r2", "neither", "longer")) <= 1
    assert f"{mass['both']:.6f}  R1 and R2" in output(capsys, *words, "--out", str(tmp_path / "mass.png"))
    assert (tmp_path / "mass.png").stat().st_size > 5_000


def test_evaluate(capsys: pytest.CaptureFixture[str], tiny_run: Path) -> None:
    printed = json.loads(output(capsys, "evaluate", "--model", str(tiny_run), "--language", "anbn", "--json"))
    results = json.loads((tiny_run / "results.json").read_text())
    # The command says of a checkpoint what its run says of it, and adds the rational learners of its training words.
    for condition in printed["conditions"]:
        assert bool(condition["rational"]) == (condition["kind"] == "ood")
        condition["rational"] = []
    common = {key: results[key] for key in ("schema_version", "references", "versions", "git_commit")}
    assert printed == {**results["best"], **common, "model": str(tiny_run)}
    text = output(capsys, "evaluate", "--model", str(tiny_run), "--language", "anbn")
    assert "as many a as b" in text
    assert "│" in text


def test_train_prints_the_table_and_what_to_type_next(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = [word for key, value in TINY.items() for word in (f"--{key}", str(value))]
    folder = tmp_path / "run"
    text = output(capsys, "train", *flags, "--output_dir", str(folder))
    assert re.search(r"every open rule +\d\.\d\d  \[", text)
    following, plot = text.strip().splitlines()[-2:]
    assert following == f"next: hf-ruleextrap evaluate --model {folder} --language anbn"
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

    # The commands run in one process here, and an earlier one has silenced the libraries.
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
def test_what_a_command_prints_fits_80_columns(
    words: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_own_languages.py").write_text(OWN_LANGUAGE, encoding="utf-8")
    Path("made.jsonl").write_text('{"prompt": "bb", "completion": "aaa"}\n', encoding="utf-8")
    places = {"own": "my_own_languages.py:TripleTheNumberOfA", "completions": "made.jsonl", "run": tiny_run, "out": "."}
    text = output(capsys, *words.format(**places).split())
    # A path is never broken.
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


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "explain", "anbn", "baa")
    assert "baa (OOD): R1 alone 0.83, neither 0.17" in text
    assert text.index("rational-uniform") < text.index("rational-simple") < text.index("rational-modular")
    made = json.loads(output(capsys, "explain", "anbn", "aab", "baa", "--learner", "rational", "--json"))
    (learner,) = made["learners"].values()
    inside, outside = learner["prompts"]
    assert inside["kept"][0]["label"] == "R1 and R2"
    assert inside["completion"] == "b"
    assert outside["kept"][0] | {"probability": None} == {
        "rules": ["as_equal_bs"],
        "label": "R1 alone",
        "probability": None,
    }


def test_explain_after_the_first_words_seen(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", "anbn", "baa", "aab", "--learner", "rational", "--max-length", "8", "--words", "32"]
    made = json.loads(output(capsys, *words, "--seen", "0", "4", "32", "--json"))
    (curve,) = made["rates_by_words"].values()
    (learner,) = made["learners"].values()
    assert made["seen"] == [0, 4, 32]
    # One row for each number of words, one column for each prompt; the last row is the learner that has seen all words.
    assert curve[-1] == pytest.approx([prompt["open_rules_hold"] for prompt in learner["prompts"]])
    assert curve[0][0] < curve[1][0] < curve[2][0]
    text = output(capsys, *words, "--seen", "4")
    assert "every open rule holds after the first training words" in text
    assert f"{curve[1][0]:8.3f}  {curve[1][1]:8.3f}" in text.splitlines()[-1]


def test_explain_of_more_words_than_are_drawn_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "anbn", "baa", "--words", "8", "--max-length", "8", "--seen", "9"]) == 2
    assert capsys.readouterr().err.strip().endswith("the number of words seen is 9: give 0 to 8, the number of words")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "annbn"], "unknown language 'annbn': did you mean 'anbn'"),
        (["languages", "--level", "regulr"], "unknown level 'regulr': did you mean 'regular'"),
        (["languages", "--tag", "papr"], "unknown tag 'papr': did you mean 'paper'"),
        (["check", "nowhere.py:Mine"], "there is no file 'nowhere.py'"),
        (["sample", "anbn", "--max-length", "1"], "give max_length >= 2"),
        (["sample", "anbn", "-n", "-1"], "give 0 or more"),
        (["sample", "anbn", "--seed", "-1"], "give 0 or more"),
        (["prompts", "anbn", "--length", "0"], "no id prompt of anbn has 0 symbols"),
        (["prompts", "dyck", "--length", "7"], "no id prompt of dyck has 7 symbols"),
        (["evaluate", "--model", "nowhere/at-all", "--language", "anbn"], "no checkpoint can be loaded"),
        (["chance", "anbn", "--completer", "unifrom"], "unknown completer 'unifrom': did you mean 'uniform'"),
        (["explain", "anbn", "bca"], "'c' is not a symbol of the alphabet"),
        (["explain", "anbn", "baa", "--learner", "rational-modlar"], "did you mean 'rational-modular'"),
        (["explain", "anbn", "baa", "--epsilon", "1"], "give a probability between 0 and 1"),
        (["explain", "anbn", "b" * 17], "has 17 symbols, and no word that the learner knows has more than 16"),
        (["explain", "dyck", "([", "--max-length", "64"], "give max_length 35 or less"),
        (["score", "nowhere.jsonl", "--language", "anbn"], "cannot read the file of completions 'nowhere.jsonl'"),
        (["mass", "--model", "x", "--language", "anbn", "--max-length", "99"], "too many to follow"),
        (["mass", "--model", "x", "--language", "anbn", "--out", "x.docx"], "cannot draw"),
        (["train", "nowhere.yaml"], "cannot read the recipe 'nowhere.yaml'"),
        (["train", "--max_steps", "soon"], "max_steps is 'soon'"),
        (["train", "--architecture", "lstn"], "unknown architecture 'lstn'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --num_train_epochs 3", "unknown flag --num_train_epochs: max_epochs is the number of passes"),
        ("train --per-device-train-batch-size=8", "unknown flag --per-device-train-batch-size: batch_size is"),
        ("train --max_step 3", "unknown flag --max_step (did you mean --max_steps or --max_epochs?)"),
        ("train --max-step 3", "unknown flag --max-step (did you mean --max_steps or --max_epochs?)"),
        ("evaluate --modl x --language anbn", "unknown flag --modl (did you mean --model?)"),
        ("sweep mini --outt store", "unknown flag --outt (did you mean --out?)"),
        ("train quickstart fast", "unrecognized arguments: 'fast'"),
        ("plot", "the following arguments are required: run"),
    ],
)
def test_an_unknown_flag_gets_the_nearest_known_ones(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert line.endswith(f"; see hf-ruleextrap {words.split()[0]} --help")


def test_a_recipe_with_a_name_of_the_trainer_gets_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 1\nlr_scheduler_type: linear\n", encoding="utf-8")
    assert main(["train", str(tmp_path / "mine.yaml")]) == 2
    assert "mine.yaml:2: unknown key 'lr_scheduler_type': the name is lr_scheduler" in capsys.readouterr().err


def test_every_other_name_leads_to_a_key_or_a_flag_of_ours() -> None:
    for name, advice in OTHER_NAMES.items():
        assert name not in Recipe.model_fields
        words = set(re.findall(r"[\w-]+", advice))
        assert words & {*Recipe.model_fields, "--overwrite"} or "leave" in words, name


def test_train_without_arguments_lists_the_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = output(capsys, "train")
    assert output(capsys, "recipes") in listed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["runs/quickstrt", "./gpt2", "../there", "/no/folder", "~nobody/x", "gpt2/", "a/b/c"])
def test_a_mistyped_path_is_refused_without_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the Hub is asked")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", asked)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", asked)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    assert main(["evaluate", "--model", name, "--language", "anbn"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: no checkpoint can be loaded from '{name}': there is no such folder; ")
    assert ("did you mean 'runs/quickstart'?" in line) == name.startswith("runs")


@pytest.mark.parametrize("line", ["not json", "[]", '{"prompt": "a"}'])
def test_a_bad_line_of_completions_is_named(line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' + line, encoding="utf-8")
    assert main(["score", str(path), "--language", "anbn"]) == 2
    error = capsys.readouterr().err
    assert "made.jsonl, line 2, " in error
    assert 'write {"prompt": "…"' in error


@pytest.mark.parametrize("words", [["nonsense"], ["train", "--max_step", "3"], ["compare"], ["sample"]])
def test_so_is_a_command_line_that_cannot_be_parsed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert len(captured.err.strip().splitlines()) == 1


def test_a_checkpoint_of_another_language_is_refused(capsys: pytest.CaptureFixture[str], tiny_run: Path) -> None:
    assert main(["evaluate", "--model", str(tiny_run), "--language", "anbncn"]) == 2
    assert "does not fit anbncn: it lacks 'c'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_quickstart_does_what_the_readme_says(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "training/train.py"]
    done = subprocess.run(
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
    assert re.search(r"every open rule +\d\.\d\d  \[", done.stdout)
    assert "Traceback" not in done.stderr
