"""Languages come from this package, from other packages, and from files of the user."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from hf_ruleextrap import get_language, languages, list_languages
from hf_ruleextrap.cli import main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.formal.contract import check
from hf_ruleextrap.languages import built_in_languages
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results

ROOT = Path(__file__).parents[2]
SHORT = ["--max_steps", "2", "--eval_steps", "2", "--max_length", "16", "--train_size", "40", "--held_out_size", "8"]
MINE = """
from hf_ruleextrap.formal import Language, even_count, starts_with


class Mine(Language):
    name = "mine"
    summary = "an even number of b, a first"
    level = "regular"
    alphabet = ("a", "b")
    rules = (even_count("b"), starts_with("a"))
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_language.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return "my_language.py:Mine"


def test_list_languages_selects_by_level_and_tag() -> None:
    assert sorted(name for level in LEVELS for name in list_languages(level=level)) == list_languages()
    assert all(get_language(name).level == "regular" for name in list_languages(level="regular"))
    assert set(list_languages(tag="paper")) < set(list_languages())


def test_a_language_can_come_from_a_file(mine: str) -> None:
    language = get_language(mine)
    assert (language.name, language.contains(["abb", "b"]).tolist()) == ("mine", [True, False])
    assert all(finding.holds for finding in check(language))


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "LANGUAGE", "-n", "2"],
        ["prompts", "LANGUAGE", "--limit", "2"],
        ["chance", "LANGUAGE", "--max-new-symbols", "4"],
        ["score", "completions.jsonl", "--language", "LANGUAGE"],
        ["publish", "dataset", "LANGUAGE", "--train-size", "50", "--max-length", "16"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_accepts_a_language_from_a_file(
    mine: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("completions.jsonl").write_text('{"prompt": "b", "completion": "b"}\n', encoding="utf-8")
    assert main([mine if word == "LANGUAGE" else word for word in words]) == 0
    assert capsys.readouterr().out.strip()


def test_a_run_and_its_checkpoint_keep_a_language_from_a_file(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--language", mine, *SHORT]) == 0
    run = Path("runs/Mine-lstm-seed0")
    results = Results.read(run)
    assert (results.recipe.language, results.best.language) == (mine, "mine")
    assert Recipe.from_file(run / "recipe.yaml").language == mine
    assert f"--model {run} --language {mine}" in capsys.readouterr().out
    assert main(["evaluate", "--model", str(run), "--language", mine]) == 0
    assert "-gram" in capsys.readouterr().out
    assert main(["report", "runs", "--out", "report"]) == 0
    assert main(["publish", "checkpoint", str(run)]) == 0
    assert Path("ruleextrap/Mine-lstm/.eval_results/mine.yaml").exists()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere.py:Mine", "there is no file 'nowhere.py': name an existing file as FILE.py:CLASS"),
        ("my_language.py", "'my_language.py' lacks the class: give my_language.py:Mine"),
        ("my_language.py:Mein", "unknown class of my_language.py 'Mein': did you mean 'Mine'"),
        ("my_language.py:even_count", "not a Language: derive it from hf_ruleextrap.formal.Language"),
        ("broken.py:Mine", "broken.py, line 2: invalid syntax"),
        ("crashes.py:Mine", "crashes.py cannot be loaded: ZeroDivisionError: division by zero"),
        ("empty.py:Mine", "empty.py holds no Language"),
        ("stated.py:Mine", "stated.py:Mine: summary is missing"),
    ],
)
def test_an_invalid_language_reference_is_refused_in_one_line(
    reference: str, message: str, mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mine
    Path("broken.py").write_text("x = 1\nclass Mine(:\n", encoding="utf-8")
    Path("crashes.py").write_text("1 / 0\n", encoding="utf-8")
    Path("empty.py").write_text("x = 1\n", encoding="utf-8")
    Path("stated.py").write_text(MINE.replace("summary", "other"), encoding="utf-8")
    assert main(["sample", reference]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.fixture
def installed(mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    assert mine
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint(name, value, languages.GROUP)
        for name, value in (("theirs", "my_language:Mine"), ("anbn", "my_language:Mine"), ("gone", "no_module:Mine"))
    ]
    monkeypatch.setattr(languages, "entry_points", lambda group: points if group == languages.GROUP else [])
    languages.installed_languages.cache_clear()
    yield
    languages.installed_languages.cache_clear()


@pytest.mark.usefixtures("installed")
def test_another_package_can_register_a_language() -> None:
    assert set(list_languages()) - set(built_in_languages()) == {"theirs", "gone"}
    assert get_language("theirs").name == "mine"
    # A built-in language keeps its name.
    assert get_language("anbn").name == "anbn"
    with pytest.raises(RuleExtrapError, match="gone: no_module:Mine of another package cannot be loaded: No module"):
        get_language("gone")


def test_the_page_of_languages_lists_all_languages(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "languages.md").read_text(encoding="utf-8")
    assert main(["languages", "--markdown"]) == 0
    assert capsys.readouterr().out.strip() in page
    tags = {tag for name in built_in_languages() for tag in get_language(name).tags}
    explained = page.split("## Tags")[1]
    assert [tag for tag in sorted(tags) if f"`{tag}`" not in explained] == []


def recipe_of_contributing() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.split("## Add a language\n")[1].split("\n## ")[0]


def test_the_recipe_in_contributing_is_short_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = recipe_of_contributing()
    assert len(section.strip().splitlines()) < 20
    code = section.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    Path("my_language.py").write_text(textwrap.dedent(code), encoding="utf-8")
    assert "my_language.py:MyLanguage" in section
    assert main(["check", "my_language.py:MyLanguage"]) == 0
    assert capsys.readouterr().out.strip().endswith("checks hold")
    assert main(["train", "--language", "my_language.py:MyLanguage", *SHORT]) == 0
