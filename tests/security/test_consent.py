"""A language file that only data names is never run, and names from data do nothing in the files of a report."""

from __future__ import annotations

import csv
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from security.strangers import LANGUAGE, Stranger
from studies import evaluation
from tiny import TINY

from hf_ruleextrap import RuleExtrapError, get_language
from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import BackendConfig, text_completer
from hf_ruleextrap.evaluation import read_evaluations
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.text import TextRun
from hf_ruleextrap.report import Row, Study, rates_of, write_report
from hf_ruleextrap.report.curves import optimum
from hf_ruleextrap.sweep.grid import read_grid
from hf_ruleextrap.train.recipe import Recipe

MODEL = ["--model", "runs/theirs", "--language", "anbn"]
FLAG = "--language {}"


@pytest.mark.parametrize(
    ("words", "has_hint"),
    [
        (["report", "runs", "--out", "out"], True),
        (["plot", "runs/theirs", "--out", "run.svg"], False),
        (["publish", "checkpoint", "runs/theirs"], True),
        (["evaluate", *MODEL, "--json"], True),
        (["reach", *MODEL, "--train-length", "8", "--lengths", "8", "--prompts", "2"], False),
        (["discriminate", *MODEL, "--limit", "4", "--protocol", "symbols"], True),
        (["mass", *MODEL, "--max-length", "3"], False),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_shows_the_numbers_and_runs_no_code_from_the_run_folder(
    words: list[str], has_hint: bool, stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger.change(language=stranger.language)
    assert main(words) == 0
    assert not stranger.ran
    hints = [line for line in capsys.readouterr().err.splitlines() if FLAG.format(stranger.language) in line]
    assert len(hints) == has_hint


def test_reach_without_a_training_length_names_the_missing_flag(
    stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger.change(language=stranger.language)
    assert main(["reach", *MODEL]) == 2
    error = capsys.readouterr().err
    assert FLAG.format(stranger.language) in error
    assert "pass --train-length" in error
    assert not stranger.ran


def test_a_report_names_the_rules_once_the_user_names_the_file(stranger: Stranger) -> None:
    stranger.change(language="evil.py:Theirs")
    assert main(["report", "runs", "--out", "out"]) == 0
    text = Path("out/report.md").read_text(encoding="utf-8")
    assert "## evil.py:Theirs\n\nevil.py:Theirs is a class in a file, and its code has not run" in text
    assert not stranger.ran
    assert main(["report", "runs", "--out", "out", "--language", "evil.py:Theirs"]) == 0
    assert stranger.ran
    assert get_language("evil.py:Theirs").summary in Path("out/report.md").read_text(encoding="utf-8")


def test_the_optimum_of_a_stranger_s_language_is_not_known(stranger: Stranger) -> None:
    assert optimum(Recipe.of({"language": stranger.language, "mass_length": 3}, "their recipe")) is None
    assert not stranger.ran


def test_a_user_s_file_of_the_same_name_is_run_and_the_stranger_s_is_not(stranger: Stranger) -> None:
    stranger.change(language=stranger.language)
    own_folder = stranger.folder / "mine"
    own_folder.mkdir()
    shutil.copy(stranger.file, own_folder)
    assert main(["report", "runs", "--out", "out", "--language", f"{own_folder}/evil.py:Theirs"]) == 0
    assert (own_folder / "RAN").exists()
    assert not stranger.file.with_name("RAN").exists()
    assert get_language(f"{own_folder}/evil.py:Theirs").summary in Path("out/report.md").read_text(encoding="utf-8")


def test_a_text_evaluation_is_read_without_its_language(stranger: Stranger, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("", encoding="utf-8")
    settings = ProtocolSettings("anbn", shots=2, samples=0, limit=4)
    completer = text_completer("replay", BackendConfig(model=str(tmp_path / "none.jsonl")))
    TextRun(completer, "their-model", settings, controls=False, out=tmp_path / "evaluation")(lambda: None)
    path = tmp_path / "evaluation" / "evaluation.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for condition in document["conditions"]:
        condition["settings"]["language"] = stranger.language
    document["completer"]["backend"] = f"{stranger.file}:Theirs"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert main(["report", "evaluation", "--out", "out"]) == 0
    assert "their-model" in Path("out/report.md").read_text(encoding="utf-8")
    (stored,) = read_evaluations(tmp_path / "evaluation")
    assert stored.main.settings.shots == 2
    # A value that the file lacks is not computed from the language of the stranger either.
    for condition in document["conditions"]:
        condition["settings"]["max_word_length"] = 0
    path.write_text(json.dumps(document), encoding="utf-8")
    assert main(["report", "evaluation", "--out", "out"]) == 2
    assert not stranger.ran
    with pytest.raises(RuleExtrapError, match="call get_language"):
        _ = stored.main.settings.the_language


def test_a_recipe_runs_a_language_file_only_where_the_command_names_it(
    stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path("recipe.yaml")
    recipe.write_text(yaml.safe_dump({**TINY, "language": "evil.py:Theirs", "output_dir": "new"}), encoding="utf-8")
    assert main(["train", "recipe.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "recipe.yaml:3 names the language 'evil.py:Theirs'" in line
    assert line.endswith("give --language evil.py:Theirs to allow that")
    assert not stranger.ran
    assert not Path("new").exists()
    # A training does not resume in a run folder of the stranger.
    stranger.change(language="evil.py:Theirs")
    (stranger.run / "results.json").unlink()
    assert main(["train", *(f"--{key}={value}" for key, value in TINY.items()), f"--output_dir={stranger.run}"]) == 2
    assert "already holds another run" in capsys.readouterr().err
    assert not stranger.ran
    assert main(["train", "recipe.yaml", "--max_steps=2", "--eval_steps=2", "--language", "evil.py:Theirs"]) == 0
    assert stranger.ran


@pytest.mark.parametrize("place", ["axes", "recipe"])
def test_a_grid_runs_a_language_file_only_where_the_command_names_it(
    place: str, stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("base.yaml").write_text("language: evil.py:Theirs\n" if place == "recipe" else "seed: 1\n", encoding="utf-8")
    axes = {"language": ["anbn", "evil.py:Theirs"]} if place == "axes" else {"max_steps": [2]}
    Path("grid.yaml").write_text(yaml.safe_dump({"recipes": ["base.yaml"], "axes": axes}), encoding="utf-8")
    assert main(["sweep", "grid.yaml", "--out", "store", "--dry-run"]) == 2
    assert "give --language evil.py:Theirs" in capsys.readouterr().err
    # The name of another file with the same name does not allow this file.
    Path("mine").mkdir()
    Path("mine/evil.py").write_text(LANGUAGE, encoding="utf-8")
    assert main(["sweep", "grid.yaml", "--out", "store", "--dry-run", "--language", "mine/evil.py:Theirs"]) == 2
    assert not stranger.file.with_name("RAN").exists()
    assert main(["sweep", "grid.yaml", "--out", "store", "--dry-run", "--language", "evil.py:Theirs"]) == 0
    assert stranger.file.with_name("RAN").exists()
    assert "Theirs-lstm-seed" in capsys.readouterr().out
    assert any(cell.recipe.language == "evil.py:Theirs" for cell in read_grid("grid.yaml", "store"))


def test_a_recipe_beside_a_checkpoint_that_is_no_run_folder_is_not_read(stranger: Stranger) -> None:
    copy = stranger.run.rename(stranger.folder / "model")
    (copy / "recipe.yaml").unlink()
    (stranger.folder / "recipe.yaml").write_text("no: recipe\n", encoding="utf-8")
    assert main(["evaluate", "--model", "model", "--language", "anbn", "--json"]) == 0


def test_a_recipe_that_is_resolved_from_its_language_runs_no_code(stranger: Stranger) -> None:
    results = stranger.results()
    del results["recipe"]["max_steps"], results["recipe"]["max_new_symbols"]
    stranger.write_results(results)
    stranger.change(language=stranger.language, max_epochs=1, max_total_tokens=40)
    assert main(["report", "runs", "--out", "out"]) == 2
    assert main(["evaluate", *MODEL, "--json"]) == 2
    assert main(["publish", "checkpoint", "runs/theirs"]) == 2
    Path("child.yaml").write_text("extends: runs/theirs/recipe.yaml\n", encoding="utf-8")
    assert main(["train", "child.yaml"]) == 2
    with pytest.raises(RuleExtrapError, match="call get_language"):
        Recipe.from_file(stranger.run / "recipe.yaml")
    assert not stranger.ran
    get_language(stranger.language)
    assert Recipe.of({"language": stranger.language, "max_epochs": 1}, "mine").max_steps >= 1


HOSTILE = [
    '=HYPERLINK("http://evil")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    '"><script>alert(1)</script>',
    "</title><svg onload=alert(1)>",
    "<img src=x onerror=alert(1)>",
]


class Page(HTMLParser):
    """The elements of a page with the names of their attributes, and the labels for screen readers."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.elements: set[tuple[str, ...]] = set()
        self.labels: list[str] = []
        self.feed((folder / "index.html").read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add((tag, *(name for name, _ in attributes)))
        self.labels += [value or "" for name, value in attributes if name == "aria-label"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("language", [HOSTILE[4], '" onload="alert(1)'])
def test_a_hostile_name_adds_no_element_and_no_attribute_to_the_page(language: str, tmp_path: Path) -> None:
    rates = rates_of(evaluation("anbn", (20, 20, 20, 20), (13, 14, 15, 16)))
    pages = []
    for number, name in enumerate(["harmless", language]):
        rows = [Row.over(name, model, "greedy", "corrected", [rates]) for model in ("one", name)]
        write_report(Study([], {}, rows), tmp_path / str(number))
        pages.append(Page(tmp_path / str(number)))
    harmless, hostile = pages
    assert hostile.elements == harmless.elements
    assert [label.replace("harmless", language) for label in harmless.labels] == hostile.labels
    assert hostile.labels


@pytest.mark.timeout(120)
def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    rates = rates_of(evaluation("anbn", (20, 20, 20, 20), (13, 14, 15, 16)))
    rows = [Row.over(name, name, "greedy", "corrected", [rates]) for name in HOSTILE]
    rows += [Row.over("anbn", name, "greedy", "corrected", [rates]) for name in HOSTILE]
    write_report(Study([], {HOSTILE[4]: HOSTILE[5]}, rows), tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for markup in ("<script>alert", "<svg onload", "<img src=x", "</title><svg"):
        assert markup not in page
    with (tmp_path / "report.csv").open(encoding="utf-8") as file:
        cells = [cell for line in csv.DictReader(file) for cell in (line["language"], line["model"])]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
