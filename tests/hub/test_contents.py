"""The contents of datasets: a folder loads with the rows of its files; the suite of generated languages."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset, load_dataset_builder
from huggingface_hub import DatasetCard
from pyarrow.parquet import read_table, write_table

from hf_ruleextrap import get_language, random_conjunction
from hf_ruleextrap.cli import main
from hf_ruleextrap.formal.families import Regular
from hf_ruleextrap.formal.rules import ordered, starts_with
from hf_ruleextrap.hub.dataset import write_dataset, write_suite
from hf_ruleextrap.hub.parquet import ConfigContents

SMALL: dict[str, Any] = {"max_length": 16, "train_size": 60, "held_out_size": 10}


class Mine(Regular):
    """The language of the words that start with b and have every b before every a."""

    name, summary, alphabet = "mine", "starts with b, every b before every a", ("a", "b")
    rules = (starts_with("b"), ordered("b", "a"))
    prompt_length = 4


class MineLater(Mine):
    """The same language with longer prompts."""

    prompt_length = 5


def dataset(language: object = "dyck", **changes: Any) -> Callable[[Path], object]:
    return lambda folder: write_dataset(language, folder, **{**SMALL, **changes})  # type: ignore[arg-type]


def suite_of(monkeypatch: pytest.MonkeyPatch, seed: int) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("hf_ruleextrap.hub.dataset.suite", lambda: [random_conjunction(seed)])
            write_suite(folder)

    return write


@pytest.mark.parametrize("in_place", [False, True], ids=["another folder", "rewritten in place"])
@pytest.mark.parametrize(
    ("name", "config", "split"),
    [
        ("more", "default", "train"),
        ("seed", "default", "test"),
        ("shards", "default", "train"),
        ("prompts", "prompts", "ood"),
        ("suite", "default", "test"),
    ],
)
def test_rewritten_content_under_the_same_name_is_loaded(
    name: str, config: str, split: str, in_place: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = {
        "more": (dataset(), dataset(train_size=90)),
        "seed": (dataset(), dataset(seed=1)),
        "shards": (dataset(train_size=90, shard_words=40), dataset(train_size=90, shard_words=40, seed=1)),
        "prompts": (dataset(Mine()), dataset(MineLater())),
        "suite": (suite_of(monkeypatch, 0), suite_of(monkeypatch, 2)),
    }[name]
    loaded = []
    for write, site in ((first, tmp_path / "first"), (second, tmp_path / ("first" if in_place else "second"))):
        folder = site / "ruleextrap" / f"cached-{name}-{in_place}"
        write(folder)
        monkeypatch.chdir(site)
        rows = load_dataset(f"ruleextrap/{folder.name}", config, split=split)
        paths = sorted((folder / ("data" if name == "suite" else config)).glob(f"{split}-*.parquet"))
        assert rows.to_list() == [row for path in paths for row in read_table(path).to_pylist()]
        loaded.append(rows.to_list())
    assert loaded[0] != loaded[1]


def test_the_card_states_the_sizes_that_datasets_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ruleextrap" / "dyck"
    write_dataset("dyck", folder, **SMALL)
    stated = {info["config_name"]: info for info in DatasetCard.load(folder / "README.md").data.dataset_info}
    assert list(stated) == ["default", "paper", "prompts"]
    monkeypatch.chdir(tmp_path)
    for config, info in stated.items():
        builder = load_dataset_builder("ruleextrap/dyck", config)
        builder.download_and_prepare(verification_mode="all_checks")
        measured = {name: (split.num_bytes, split.num_examples) for name, split in builder.info.splits.items()}
        assert measured == {split["name"]: (split["num_bytes"], split["num_examples"]) for split in info["splits"]}
        assert info["dataset_size"] == sum(num_bytes for num_bytes, _ in measured.values())
        assert info["download_size"] == sum(path.stat().st_size for path in (folder / config).glob("*.parquet"))


def test_one_changed_row_changes_the_digest(tmp_path: Path) -> None:
    write_dataset("dyck", tmp_path, **SMALL)
    path = tmp_path / "default" / "train-00000-of-00001.parquet"
    read_contents = partial(ConfigContents.read, "default", {"train": [path]})
    original = read_contents()
    table = read_table(path)
    write_table(table.take([1, 0, *range(2, len(table))]), path)
    assert read_contents().splits == original.splits
    assert read_contents().digest != original.digest


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    assert main(["publish", "dataset", "random", "--to", str(folder)]) == 0
    return folder


def test_each_row_of_the_suite_is_a_generated_language(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_card_of_the_suite_is_valid_and_its_code_runs(
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


def test_the_suite_is_written_with_the_same_bytes_each_time(parent: Path, tmp_path: Path) -> None:
    for path in write_suite(tmp_path):
        written = parent / "ruleextrap" / "random-conjunctions" / path.relative_to(tmp_path)
        assert path.read_bytes() == written.read_bytes()


def test_a_generated_language_is_published_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ["--max-length", "24", "--train-size", "100"]
    assert main(["publish", "dataset", "random-context-free-0", "--to", str(tmp_path), *sizes]) == 0
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
