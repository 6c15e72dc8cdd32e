"""Repositories as folders, which load with the same line of code as on the Hub."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import evaluate
import jinja2
import numpy as np
import pytest
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard

from hf_ruleextrap import get_language, list_languages
from hf_ruleextrap.cli import main
from hf_ruleextrap.data import Splits, build_splits, fingerprints
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.hub.cards import render
from hf_ruleextrap.hub.dataset import overlap, word_columns, write_dataset
from hf_ruleextrap.hub.push import find_releases
from hf_ruleextrap.hub.spaces import write_metric

PAPER = "https://arxiv.org/abs/2409.13728"


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all repositories in a small size."""
    folder = tmp_path_factory.mktemp("repositories")
    for name in [*list_languages(tag="paper"), "flipflop"]:
        words = ["--max-length", "32", "--train-size", "200"]
        assert main(["publish", "dataset", name, "--to", str(folder), *words]) == 0
    assert main(["publish", "metric", "--to", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("name", list_languages(tag="paper"))
def test_every_configuration_loads_with_the_expected_rows(
    name: str, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(parent)
    language = get_language(name)
    default, paper = load_dataset(f"ruleextrap/{name}"), load_dataset(f"ruleextrap/{name}", "paper")
    assert set(default["train"].column_names) == {"text", "length", *language.parameters}
    splits = build_splits(language, max_length=32, train_size=200, held_out_size=20, seed=0)
    assert default["test"]["text"][:] == list(splits.test)
    assert not np.isin(fingerprints(WordBatch.from_strings(default["train"]["text"][:])), splits.held_out).any()
    for data in (*default.values(), *paper.values()):
        assert language.contains(data["text"][:]).all()
        assert data["length"][:] == [len(text) for text in data["text"]]
    prompts = load_dataset(f"ruleextrap/{name}", "prompts")
    expected = language.prompts()
    rows = [*prompts["id"], *prompts["ood"]]
    assert [row["prompt"] for row in rows] == expected.texts
    for row, prompt in zip(rows, expected, strict=True):
        assert (row["kind"], tuple(row["broken"]), tuple(row["open"])) == (prompt.kind, prompt.broken, prompt.open)
        assert [row[f"{rule.name}_open"] for rule in language.rules] == [r.name in prompt.open for r in language.rules]
    streamed = next(iter(load_dataset(f"ruleextrap/{name}", split="train", streaming=True)))
    assert streamed == default["train"][0]


def test_the_same_seed_gives_the_same_bytes(parent: Path, tmp_path: Path) -> None:
    paths = write_dataset("dyck", tmp_path / "dyck", max_length=32, train_size=200, held_out_size=20)
    assert len(paths) == 10
    for path in paths:
        assert path.read_bytes() == (parent / "ruleextrap" / "dyck" / path.relative_to(tmp_path / "dyck")).read_bytes()
    write_dataset("dyck", tmp_path / "other", max_length=32, train_size=200, held_out_size=20, seed=1)
    train = "default/train-00000-of-00001.parquet"
    assert (tmp_path / "other" / train).read_bytes() != (tmp_path / "dyck" / train).read_bytes()


@pytest.mark.parametrize(
    ("name", "word", "values"),
    [
        ("anbn", "aaabbb", {"n": 3}),
        ("anbncn", "aabbcc", {"n": 2}),
        ("ban", "babab", {"m": 1}),
        ("bban", "bbbaaaa", {"n": 3, "m": 2}),
        ("dyck", "([()])[]", {"depth": 3}),
        ("csdyck", "([)]", {"depth": 2}),
    ],
)
def test_the_columns_of_a_word_hold_its_parameters(name: str, word: str, values: dict[str, int]) -> None:
    columns = word_columns(get_language(name), WordBatch.from_strings([word]))
    assert {key: int(column[0]) for key, column in columns.items() if key not in ("text", "length")} == values


@pytest.mark.parametrize("name", list_languages(tag="paper"))
def test_the_card_is_valid_and_its_numbers_and_code_are_correct(
    name: str, parent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(parent)
    text = (parent / "ruleextrap" / name / "README.md").read_text(encoding="utf-8")
    card = DatasetCard(text)
    assert [config["config_name"] for config in card.data.configs] == ["default", "paper", "prompts"]
    for config, split, rows in re.findall(r"\| `(\w+)` \| `(\w+)` \| ([\d,]+) \|", text):
        assert load_dataset(f"ruleextrap/{name}", config, split=split).num_rows == int(rows.replace(",", ""))
    train, validation = (load_dataset(f"ruleextrap/{name}", "paper", split=split) for split in ("train", "validation"))
    known = set(train["text"][:])
    share = sum(word in known for word in validation["text"]) / len(validation)
    assert f"{100 * share:.0f} % of the validation words" in text
    assert not re.search(r"\{\{ |\{% ", text)
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "card", "exec"), {})
    assert "prompt" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*list_languages(tag="paper"), "flipflop"])
def test_the_card_explains_the_configuration_paper(name: str, parent: Path) -> None:
    text = " ".join((parent / "ruleextrap" / name / "README.md").read_text(encoding="utf-8").split())
    notes = {
        **dict.fromkeys(("anbn", "anbncn"), "each split holds every word, so that 100 % of the validation words"),
        "ban": "The words are drawn as in `default`.",
        "bban": "a completion without b breaks R2",
        "dyck": "a word ends as soon as all its brackets are closed",
        "csdyck": "the prompts' w are 32 properly nested prime words",
    }
    assert ("**paper**: the splits of the authors' code" in text) == (name in notes)
    assert notes.get(name, "") in text


@pytest.mark.parametrize("name", [*list_languages(tag="paper"), "flipflop"])
def test_the_tasks_of_a_benchmark_are_the_prompts_of_the_dataset(
    name: str, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(parent)
    benchmark = yaml.safe_load((parent / "ruleextrap" / name / "eval.yaml").read_text(encoding="utf-8"))
    assert set(benchmark) == {"name", "description", "evaluation_framework", "tasks"}
    rules = [rule.name for rule in get_language(name).rules]
    ids = [f"{kind}_{rule}" for kind in ("id", "ood") for rule in [*rules, "finished"]]
    assert {task["id"] for task in benchmark["tasks"]} == {*ids, "ood_every_open_rule_holds"}
    for config, split in {(task["config"], task["split"]) for task in benchmark["tasks"]}:
        assert load_dataset(f"ruleextrap/{name}", config, split=split).num_rows > 0


def test_the_metric_loads_from_its_folder_and_its_card_runs(
    parent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(parent)
    metric = evaluate.load("ruleextrap/rule_extrapolation", "anbn", keep_in_memory=True)
    assert metric.compute(predictions=["b"], references=["baa"])["headline"]["rate"] == 1.0
    text = (parent / "ruleextrap" / "rule_extrapolation" / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "card", "exec"), {})
    assert "rate" in capsys.readouterr().out
    assert write_metric(parent / "ruleextrap" / "rule_extrapolation")


@pytest.mark.parametrize("words", [["checkpoint", "{run}"], ["dataset", "anbn"], ["dataset", "random"], ["metric"]])
def test_a_missing_template_variable_is_an_error(
    words: list[str], tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables: dict[str, object] = {}

    def record_variables(template: str, **values: object) -> str:
        variables.update(values, template=template)
        return render(template, **values)

    module = "spaces" if words == ["metric"] else words[0]
    monkeypatch.setattr(f"hf_ruleextrap.hub.{module}.render", record_variables)
    words = [word.format(run=tiny_run) for word in words]
    assert main(["publish", *words, "--max-length=16", "--to", str(tmp_path)]) == 0
    template = str(variables.pop("template"))
    assert len(variables) > 3
    for name in variables:
        # A missing number cannot be formatted.
        with pytest.raises((jinja2.UndefinedError, TypeError), match=r"undefined|Undefined"):
            render(template, **{other: value for other, value in variables.items() if other != name})


def test_invalid_arguments_of_publish_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        (["dataset"], "publish dataset needs a language: a5"),
        (["dataset", "annbn"], "did you mean 'anbn'"),
        (["dataset", "anbn", "--max-length", "1"], "max_length 1 is too small"),
        (["dataset", "anbn", "--train-size", "0"], "train_size is 0: give 1 or more"),
        (["metric", "--org", "a b/c"], "'a b/c' cannot own repositories: choose a name of "),
        (["metric", "--org", ""], "'' cannot own repositories: choose a name of "),
    ):
        assert main(["publish", *words, "--to", str(tmp_path)]) == 2
        assert message in capsys.readouterr().err


def test_publish_all_writes_every_dataset_the_metric_and_the_runs(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--to", "site", "--max-length", "32", "--train-size", "100"]
    assert main(["publish", "all", str(tiny_run.parent), *words]) == 0
    names = {path.name for path in (tmp_path / "site" / "ruleextrap").iterdir()}
    assert names == {*list_languages(tag="paper"), "rule_extrapolation", "anbn-lstm", "random-conjunctions"}
    printed, notes = capsys.readouterr()
    assert "no model of these runs learned its language, so the demo is not published" in notes
    assert printed.count("files,") == len(names)
    assert f"the collection 'Rule extrapolation' with --push-to-hub: {len(names)} repositories" in printed
    assert {line.split()[-1] for line in printed.splitlines()[-len(names) :]} == {
        f"ruleextrap/{name}" for name in names
    }


def test_publish_all_collects_the_uploaded_repositories(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    collected: list[tuple[str, str]] = []

    def collect(owner: str, repositories: Iterable[tuple[str, str]], *, private: bool) -> str:
        assert (owner, private) == ("ruleextrap", True)
        collected.extend(repositories)
        return "collected"

    monkeypatch.setattr("hf_ruleextrap.hub.push.publisher", lambda owner: owner)
    monkeypatch.setattr("hf_ruleextrap.hub.push.push_folder", lambda folder, *_, **__: f"uploaded {folder.name}")
    monkeypatch.setattr("hf_ruleextrap.hub.push.push_collection", collect)
    words = ["--max-length", "32", "--train-size", "20", "--to", "site", "--push-to-hub", "--private"]
    assert main(["publish", "all", str(runs), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "collected"
    # The three branches of a model are one repository.
    assert sum(line.startswith("uploaded") for line in lines) == len(collected) + 2
    assert collected.count(("ruleextrap/anbn-lstm", "model")) == 1
    assert {("ruleextrap/rule_extrapolation", "space"), ("ruleextrap/demo", "space")} <= set(collected)


@pytest.fixture
def runs(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return six run folders: three seeds, a duplicate of one, an unfinished run, a broken run. One run has learned."""
    folder = tmp_path / "runs"
    for name, seed in {"a": 2, "b": 1, "c": 5, "d": 2, "unfinished": 7, "broken": 9}.items():
        shutil.copytree(tiny_run, folder / name)
        results = json.loads((folder / name / "results.json").read_text())
        results["recipe"]["seed"] = seed
        results["training"]["learned"] = name == "a"
        (folder / name / "results.json").write_text(json.dumps(results))
    (folder / "unfinished" / "results.json").unlink()
    (folder / "broken" / "results.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return folder


def test_all_seeds_are_published_with_the_lowest_on_main_and_skipped_runs_are_listed(runs: Path) -> None:
    releases, skipped = find_releases(runs)
    assert [(release.run.name, release.name, release.branch, release.folder) for release in releases] == [
        ("b", "anbn-lstm", None, "anbn-lstm"),
        ("a", "anbn-lstm", "seed-2", "anbn-lstm-seed-2"),
        ("c", "anbn-lstm", "seed-5", "anbn-lstm-seed-5"),
    ]
    broken, duplicate, unfinished = skipped
    assert broken.startswith(f"{runs / 'broken' / 'results.json'} is no result of this version: ")
    command = f"hf-ruleextrap publish checkpoint {runs / 'd'}"
    assert duplicate == f"{runs / 'd'}: {runs / 'a'} is anbn-lstm seed 2, too; `{command}` publishes this one instead"
    assert unfinished == f"{str(runs / 'unfinished')!r} holds no finished run: name a run folder with results.json"


def test_publish_all_writes_a_folder_for_each_seed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--to", "site", "--max-length", "32", "--train-size", "20"]
    assert main(["publish", "all", str(runs), "ban", "random-regular-7", *words]) == 0
    seeds = ["anbn-lstm", "anbn-lstm-seed-2", "anbn-lstm-seed-5"]
    names = {path.name for path in Path("site", "ruleextrap").iterdir()}
    datasets = {*list_languages(tag="paper"), "random-conjunctions", "random-regular-7"}
    assert names == {*datasets, "rule_extrapolation", "demo", *seeds}
    for name, seed in zip(seeds, (1, 2, 5), strict=True):
        results = json.loads(Path("site", "ruleextrap", name, "results.json").read_text())
        assert results["recipe"]["seed"] == seed
    assert [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()] == ["skipped"] * 3


def test_publish_all_reports_a_folder_without_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "all", "nowhere"]) == 2
    line = "error: 'nowhere' is neither a language nor a folder: name an existing folder of runs\n"
    assert capsys.readouterr().err == line
    runs.rename("elsewhere")
    flags = ["--max-length", "32", "--train-size", "20", "--dry-run"]
    assert main(["publish", "all", *flags]) == 0
    assert capsys.readouterr().err == "runs contains no finished run, so no checkpoint is published\n"


@pytest.mark.parametrize("what", ["dataset", "checkpoint", "metric"])
def test_a_dry_run_lists_what_would_be_written_and_writes_nothing(
    what: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    names = {"dataset": ["anbn", "--max-length=16"], "checkpoint": [str(tiny_run)], "metric": []}[what]
    assert main(["publish", what, *names, "--dry-run", "--push-to-hub"]) == 0
    listed = re.findall(r"^ *([\d,]+)  (\S+)$", capsys.readouterr().out, flags=re.MULTILINE)
    assert not [*Path().iterdir()]
    assert main(["publish", what, *names]) == 0
    written = {str(path): path.stat().st_size for path in Path().rglob("*") if path.is_file()}
    assert {path: int(size.replace(",", "")) for size, path in listed} == written


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_publishing_the_metric_to_a_full_disk_fails_with_one_line(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hf_ruleextrap.hub.spaces.build_metric", full)
    assert main(["publish", "metric", "--to", str(tmp_path), *words]) == 2
    folder = tempfile.gettempdir() if words else tmp_path
    line = f"error: cannot write {folder} (No space left on device; "
    assert capsys.readouterr().err.startswith(line)
    monkeypatch.setattr("tempfile.mkdtemp", full)
    assert main(["publish", "metric", "--to", str(tmp_path), *words]) == 2
    assert capsys.readouterr().err.startswith(line)


def test_the_build_script_writes_the_named_datasets(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "dataset_scripts" / "build.py"
    command = [sys.executable, str(script), "anbn", "bban", "--to", str(tmp_path), "--max-length", "24"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert sorted(path.name for path in (tmp_path / "ruleextrap").iterdir()) == ["anbn", "bban"]
    assert 'load_dataset("ruleextrap/bban")' in process.stdout


def test_overlap_is_the_share_of_validation_words_that_are_trained_on() -> None:
    train, validation = WordBatch.from_strings(["ab", "aabb"]), WordBatch.from_strings(["ab", "ab", "aaabbb", "ab"])
    assert overlap(Splits(train, validation, validation)) == 0.75


def test_the_links_of_all_cards_exist(parent: Path, tiny_run: Path, tmp_path: Path) -> None:
    for what in (["dataset", "random"], ["checkpoint", str(tiny_run)]):
        assert main(["publish", *what, "--to", str(tmp_path)]) == 0
    published = [*(parent / "ruleextrap").iterdir(), *(tmp_path / "ruleextrap").iterdir()]
    names = {f"ruleextrap/{path.name}" for path in published}
    for folder in published:
        text = (folder / "README.md").read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)\s]+)\)", text)
        assert folder.name == "rule_extrapolation" or links
        for link in links:
            assert link == PAPER if "://" in link else (folder / link).exists(), link
        # The names of datasets and of the metric, in the code and in the metadata.
        for name in re.findall(r"(?<![\w-])ruleextrap/[\w.-]+", text):
            assert name in names, name


def test_publishing_a_folder_without_a_run_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", "checkpoint", str(tmp_path)]) == 2
    assert "holds no finished run" in capsys.readouterr().err
