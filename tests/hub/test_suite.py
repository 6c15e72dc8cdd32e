"""The suite of generated problems as a dataset."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard

from hf_ruleextrap import get_language, random_conjunction
from hf_ruleextrap.cli import main
from hf_ruleextrap.hub.dataset import write_suite


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    assert main(["publish", "dataset", "random", "--to", str(folder)]) == 0
    return folder


def test_each_row_is_a_problem(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(parent)
    rows = load_dataset("ruleextrap/random-conjunctions", split="test")
    assert len(rows) == len(set(rows["name"])) == 100
    for row in rows.select(range(0, 100, 7)):
        language = get_language(row["name"])
        assert language.name == random_conjunction(row["seed"], row["level"]).name
        assert list(language.alphabet) == row["alphabet"]
        assert [rule.summary for rule in language.rules] == [row["r1"], row["r2"]]
        assert [rule.name for rule in language.rules] == [row["r1_name"], row["r2_name"]]
        assert language.viable(row["id_prompts"]).all()
        assert not language.viable(row["ood_prompts"]).any()
        assert language.rules[0].viable(row["ood_prompts"]).all()
        assert not language.rules[1].viable(row["ood_prompts"]).any()
        assert {len(text) for text in row["id_prompts"] + row["ood_prompts"]} == {row["prompt_length"]}


def test_the_card_is_valid_and_its_code_runs(
    parent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(parent)
    text = (parent / "ruleextrap" / "random-conjunctions" / "README.md").read_text(encoding="utf-8")
    (config,) = DatasetCard(text).data.configs
    assert config["data_files"] == [{"split": "test", "path": "data/test-00000-of-00001.parquet"}]
    rows = load_dataset("ruleextrap/random-conjunctions", split="test")
    for level, count in re.findall(r"\| ([\w -]+) \| (\d+) \| `random", text):
        assert rows["level"][:].count(level) == int(count)
    assert f"{sum(len(row['id_prompts']) + len(row['ood_prompts']) for row in rows):,} prompts" in text
    assert set(re.findall(r"`(\w+)`", text.split("## Columns")[1])) >= set(rows.column_names)
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "card", "exec"), {})
    assert "random-regular-0" in capsys.readouterr().out


def test_it_is_written_alike_each_time(parent: Path, tmp_path: Path) -> None:
    for path in write_suite(tmp_path):
        written = parent / "ruleextrap" / "random-conjunctions" / path.relative_to(tmp_path)
        assert path.read_bytes() == written.read_bytes()


def test_a_generated_language_is_published_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ["--max-length", "24", "--train-size", "100"]
    assert main(["publish", "dataset", "random-context-free-0", "--to", str(tmp_path), *few]) == 0
    monkeypatch.chdir(tmp_path)
    language = get_language("random-context-free-0")
    train = load_dataset("ruleextrap/random-context-free-0", split="train")
    assert len(train) == 100
    assert language.contains(train["text"][:]).all()
    assert "R2" in (tmp_path / "ruleextrap" / language.name / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_model_learns_a_generated_language_by_its_name(tmp_path: Path) -> None:
    from tiny import TINY

    from hf_ruleextrap.train.recipe import Recipe
    from hf_ruleextrap.train.results import Results
    from hf_ruleextrap.train.run import run_recipe

    name = "random-regular-7"
    run_recipe(Recipe.of({**TINY, "language": name, "output_dir": str(tmp_path)}, "test"))
    report = Results.read(tmp_path).best.kinds["ood"].greedy.report
    assert report.language == name
    assert set(report.rules) == {rule.name for rule in get_language(name).rules}
