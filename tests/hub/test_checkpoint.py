"""A published checkpoint: what its folder holds, and what its card says."""

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


def test_a_checkpoint_holds_what_a_stranger_needs_and_nothing_else(checkpoint: Path, tiny_run: Path) -> None:
    names = {path.name for path in checkpoint.iterdir()}
    assert {"README.md", "config.json", "lstm.py", "model.safetensors", "results.json", "tokenizer.json"} <= names
    assert not names & {"last", "log.jsonl", "training_args.bin", "optimizer.pt"}
    assert not [path for path in checkpoint.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
    for path in filter(Path.is_file, checkpoint.rglob("*")):
        for place in (str(tiny_run), str(Path.home()), str(checkpoint.parent)):
            assert place.encode() not in path.read_bytes(), path
    model = AutoModelForCausalLM.from_pretrained("ruleextrap/anbn-lstm")
    again = AutoModelForCausalLM.from_pretrained(tiny_run)
    assert all(ours.equal(theirs) for ours, theirs in zip(model.parameters(), again.parameters(), strict=True))


def test_a_checkpoint_s_card_is_its_results(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (checkpoint / "README.md").read_text(encoding="utf-8")
    results = json.loads((checkpoint / "results.json").read_text(encoding="utf-8"))
    index = {
        (found.dataset_split, found.metric_name): found.metric_value for found in ModelCard(text).data.eval_results
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


def test_a_checkpoint_s_table_has_chance_and_the_whole_interval(checkpoint: Path) -> None:
    text = (checkpoint / "README.md").read_text(encoding="utf-8")
    results = json.loads((checkpoint / "results.json").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    headings, rows = table[0], iter(table[1:])
    chance = headings.index("chance")
    for condition in results["best"]["conditions"]:
        kind, of_model = condition["kind"], condition["greedy"]["report"]
        of_chance = results["references"][condition["references"]]["uniform"]
        asked: list[tuple[str, ...]] = [("headline",)] if kind == "ood" else [("grammatical",)]
        asked += [("rules", name, "word", "all") for name in of_model["rules"]]
        for path in [*asked, ("finished",)]:
            ours, theirs = (functools.reduce(operator.getitem, path, report) for report in (of_model, of_chance))
            row = next(rows)
            assert row[2:4] == [f"{ours['rate']:.2f}", f"[{ours['low']:.2f}, {ours['high']:.2f}]"]
            assert row[chance].lstrip("~") == f"{theirs['rate']:.2f}"
            assert row[-1] == str(ours["n"])
    assert next(rows, None) is None


def test_a_checkpoint_s_recipe_gives_it_again(
    checkpoint: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (checkpoint / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(checkpoint)
    program, *words = shlex.split(block)
    assert program == "hf-ruleextrap"
    assert main(words) == 0
    again = (checkpoint / "again" / "model.safetensors").read_bytes()
    assert again == (tiny_run / "model.safetensors").read_bytes()


@pytest.fixture
def altered(tiny_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a run folder whose recipe says something else."""

    def alter(**keys: object) -> Path:
        folder = tmp_path / "altered"
        shutil.copytree(tiny_run, folder)
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        results["recipe"] |= keys
        (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
        return folder

    return alter


def test_a_checkpoint_s_card_says_how_it_was_trained(altered: Callable[..., Path], tmp_path: Path) -> None:
    def said(**keys: object) -> str:
        folder = altered(**keys)
        write_checkpoint(folder, tmp_path / "card")
        shutil.rmtree(folder)
        text = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
        return " ".join(text.split("## How it was trained")[1].split("```")[0].split())

    plain = said()
    assert "20 steps of 128 words; objective `likelihood`; optimizer `adamw` with learning rate 0.002" in plain
    assert "schedule `cosine` per step, weight decay 0.01; precision `fp32`." in plain
    other = said(
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
    assert "precision `bf16`; width chosen for about 20,000 parameters." in other
    assert "AdamW" not in other


def test_a_published_recipe_publishes_nothing_for_others(altered: Callable[..., Path], tmp_path: Path) -> None:
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


def test_the_card_has_a_prompt_for_the_widget_and_says_how_to_install(checkpoint: Path) -> None:
    text = (checkpoint / "README.md").read_text(encoding="utf-8")
    (example,) = ModelCard(text).data.widget
    assert f'tokenizer(["{example["text"]}"]' in text
    assert "pip install transformers torch" in text
