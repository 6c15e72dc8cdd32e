"""A published checkpoint: the files of its folder, and its card."""

from __future__ import annotations

import functools
import json
import operator
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from transformers import AutoModelForCausalLM

from hf_ruleextrap.cli import main
from hf_ruleextrap.hub.checkpoint import write_checkpoint
from hf_ruleextrap.train.recipe import Recipe


@pytest.fixture
def checkpoint(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert main(["publish", "checkpoint", str(tiny_run), "--to", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ruleextrap" / "anbn-lstm"


def test_a_published_checkpoint_holds_the_files_for_loading_and_nothing_else(checkpoint: Path, tiny_run: Path) -> None:
    names = {path.name for path in checkpoint.iterdir()}
    assert {"README.md", "config.json", "lstm.py", "model.safetensors", "results.json", "tokenizer.json"} <= names
    assert not names & {"last", "log.jsonl", "training_args.bin", "optimizer.pt"}
    assert not [path for path in checkpoint.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
    for path in filter(Path.is_file, checkpoint.rglob("*")):
        for private_path in (str(tiny_run), str(Path.home()), str(checkpoint.parent)):
            assert private_path.encode() not in path.read_bytes(), path
    model = AutoModelForCausalLM.from_pretrained("ruleextrap/anbn-lstm")
    original = AutoModelForCausalLM.from_pretrained(tiny_run)
    assert all(published.equal(own) for published, own in zip(model.parameters(), original.parameters(), strict=True))


def test_the_card_of_a_checkpoint_states_its_results(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (checkpoint / "README.md").read_text(encoding="utf-8")
    results = json.loads((checkpoint / "results.json").read_text(encoding="utf-8"))
    index = {
        (result.dataset_split, result.metric_name): result.metric_value for result in ModelCard(text).data.eval_results
    }
    for condition in results["best"]["conditions"]:
        kind, report = condition["kind"], condition["greedy"]["report"]
        for name, rule in report["rules"].items():
            assert index[kind, name] == rule["word"]["all"]["rate"]
            assert f"| {rule['word']['all']['rate']:.2f} | [{rule['word']['all']['low']:.2f}," in text
    assert index["ood", "every open rule holds"] == report["headline"]["rate"]
    assert f"Test loss {results['test']['loss']:.4f}" in text
    assert f"{results['training']['parameters']:,} parameters" in text
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "card", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_table_of_a_card_has_chance_and_the_interval(checkpoint: Path) -> None:
    text = (checkpoint / "README.md").read_text(encoding="utf-8")
    results = json.loads((checkpoint / "results.json").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    headings, rows = table[0], iter(table[1:])
    chance = headings.index("chance")
    for condition in results["best"]["conditions"]:
        kind, of_model = condition["kind"], condition["greedy"]["report"]
        of_chance = results["references"][condition["references"]]["uniform"]
        rate_paths: list[tuple[str, ...]] = [("headline",)] if kind == "ood" else [("grammatical",)]
        rate_paths += [("rules", name, "word", "all") for name in of_model["rules"]]
        for path in [*rate_paths, ("finished",)]:
            rate, chance_rate = (functools.reduce(operator.getitem, path, report) for report in (of_model, of_chance))
            row = next(rows)
            assert row[2:4] == [f"{rate['rate']:.2f}", f"[{rate['low']:.2f}, {rate['high']:.2f}]"]
            assert row[chance].lstrip("~") == f"{chance_rate['rate']:.2f}"
            assert row[-1] == str(rate["n"])
    assert next(rows, None) is None


def test_the_recipe_of_a_published_checkpoint_reproduces_its_weights(
    checkpoint: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (checkpoint / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(checkpoint)
    program, *words = shlex.split(block)
    assert program == "hf-ruleextrap"
    assert main(words) == 0
    weights = (checkpoint / "again" / "model.safetensors").read_bytes()
    assert weights == (tiny_run / "model.safetensors").read_bytes()


@pytest.fixture
def altered(tiny_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies a run folder and changes keys of its recipe."""

    def alter(**keys: object) -> Path:
        folder = tmp_path / "altered"
        shutil.copytree(tiny_run, folder)
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        results["recipe"] |= keys
        (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
        return folder

    return alter


def test_the_card_of_a_checkpoint_describes_its_training(altered: Callable[..., Path], tmp_path: Path) -> None:
    def card_text(**keys: object) -> str:
        folder = altered(**keys)
        write_checkpoint(folder, tmp_path / "card")
        shutil.rmtree(folder)
        text = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
        return " ".join(text.split("## How it was trained")[1].split("```")[0].split())

    plain = card_text()
    assert "20 steps of 128 words; objective `likelihood`; optimizer `adamw` with learning rate 0.002" in plain
    assert "schedule `cosine` per step, weight decay 0.01; precision `fp32`." in plain
    other = card_text(
        optimizer="muon",
        objective="oracle",
        lr_scheduler="linear",
        schedule_per="epoch",
        warmup_steps=5,
        decay_all=True,
        loss_on_padding=True,
        precision="bf16",
        paper=True,
        parameters=20_000,
    )
    assert "symbols, the authors' draw; " in other
    assert "objective `oracle`, PAD is a target, too; optimizer `muon`" in other
    assert "schedule `linear` per epoch after 5 epochs of warm-up, weight decay 0.01 of all parameters; " in other
    assert "precision `bf16`; width fitted to 20,000 parameters." in other
    assert "AdamW" not in other


def test_a_published_recipe_has_no_settings_of_publishing_and_tracking(
    altered: Callable[..., Path], tmp_path: Path
) -> None:
    folder = altered(push_to_hub=True, hub_organization="mine", report_to="wandb", output_dir="/at/home")
    write_checkpoint(folder, tmp_path / "card")
    recipe = Recipe.from_file(tmp_path / "card" / "recipe.yaml")
    assert not recipe.push_to_hub
    assert (recipe.hub_organization, recipe.report_to, recipe.output_dir) == (None, "none", "")


def test_the_results_for_leaderboards_are_those_of_the_card_and_name_the_tasks_of_the_dataset(
    checkpoint: Path, tmp_path: Path
) -> None:
    assert main(["publish", "dataset", "anbn", "--max-length=16", "--train-size=20", "--to", str(tmp_path)]) == 0
    benchmark = yaml.safe_load((tmp_path / "ruleextrap" / "anbn" / "eval.yaml").read_text(encoding="utf-8"))
    entries = parse_eval_result_entries(
        yaml.safe_load((checkpoint / ".eval_results" / "anbn.yaml").read_text(encoding="utf-8"))
    )
    assert {entry.dataset_id for entry in entries} == {"ruleextrap/anbn"}
    assert {entry.task_id for entry in entries} == {task["id"] for task in benchmark["tasks"]}
    text = (checkpoint / "README.md").read_text(encoding="utf-8")
    results = ModelCard(text).data.eval_results
    assert [entry.value for entry in entries] == [result.metric_value for result in results]
    splits = {task["id"]: (task["config"], task["split"]) for task in benchmark["tasks"]}
    assert [splits[entry.task_id] for entry in entries] == [
        (result.dataset_config, result.dataset_split) for result in results
    ]


def test_the_card_has_a_prompt_for_the_widget_and_the_installation_command(checkpoint: Path) -> None:
    text = (checkpoint / "README.md").read_text(encoding="utf-8")
    (example,) = ModelCard(text).data.widget
    assert f'tokenizer(["{example["text"]}"]' in text
    assert "pip install transformers torch" in text
