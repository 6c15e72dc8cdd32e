"""The five doors, each in a fresh process with nothing cached: offline from a folder, and over HTTP from the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.loopback import WRITER, Hub
from hub.test_push import SMALL, User
from tiny import TINY

from hf_ruleextrap.cli import main

TRAIN = Path(__file__).parents[2] / "training" / "train.py"


@pytest.fixture(scope="module", params=["folder", "hub"])
def place(
    request: pytest.FixtureRequest, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Hub, Path]]:
    """Where the repositories are, and the folder in which a user starts."""
    hub, parent = Hub(), tmp_path_factory.mktemp(request.param)
    for words in (("dataset", "anbn", *SMALL), ("checkpoint", str(tiny_run)), ("metric",)):
        if request.param == "hub":
            done = User(hub, parent / words[0], WRITER).publish(*words)
            assert done.returncode == 0, done.stderr
        else:
            assert main(["publish", *words, "--to", str(parent)]) == 0
    yield request.param, hub, parent
    hub.close()


@pytest.fixture
def user(place: tuple[str, Hub, Path], tmp_path: Path) -> User:
    where, hub, parent = place
    found = User(hub, tmp_path / "user", "" if where == "folder" else WRITER)
    if where == "folder":
        found.environment |= {"HF_HUB_OFFLINE": "1"}
        (found.folder / "ruleextrap").symlink_to(parent / "ruleextrap")
    return found


def said(user: User, *words: str) -> str:
    done = user.run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_load_dataset(user: User) -> None:
    code = """
from datasets import load_dataset
for config in (None, "paper", "prompts"):
    print({name: len(rows) for name, rows in load_dataset("ruleextrap/anbn", config).items()})
print(next(iter(load_dataset("ruleextrap/anbn", "prompts", split="ood", streaming=True)))["prompt"])
"""
    default, paper, prompts, first = said(user, "-c", code).splitlines()
    assert default == "{'train': 8, 'validation': 8, 'test': 8}"
    assert paper == "{'train': 8, 'validation': 8, 'test': 8}"
    assert prompts == "{'id': 5, 'ood': 251}"
    assert first == "aaaaaaba"


def test_from_pretrained(user: User) -> None:
    code = """
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("ruleextrap/anbn-lstm", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("ruleextrap/anbn-lstm", trust_remote_code=True)
tokens = tokenizer("aab", return_tensors="pt")
print(type(model).__name__, tuple(model(**tokens).logits.shape))
"""
    assert said(user, "-c", code) == "RuleLSTMForCausalLM (1, 4, 5)"


def test_evaluate_load(user: User) -> None:
    code = """
import evaluate
metric = evaluate.load("ruleextrap/rule_extrapolation", "anbn")
print(metric.compute(predictions=["b"], references=["baa"])["headline"]["rate"])
"""
    assert said(user, "-c", code) == "1.0"


def test_train(user: User, place: tuple[str, Hub, Path]) -> None:
    flags = [f"--{key}={value}" for key, value in {**TINY, "max_steps": 2, "eval_steps": 2}.items()]
    online = place[0] == "hub"
    launch = ["-m", "accelerate.commands.launch", "--num_processes=1", str(TRAIN), *flags, "--output_dir=made"]
    last = said(user, *launch, *(["--push-to-hub"] if online else [])).splitlines()[-1]
    assert (user.folder / "made" / "model.safetensors").exists()
    if online:
        assert "/tester/anbn-lstm: created and updated in commit" in last
        assert {"README.md", "results.json"} <= set(place[1].files("models", "tester/anbn-lstm"))


def test_evaluate_a_checkpoint(user: User, tiny_run: Path) -> None:
    words = ("--model", "ruleextrap/anbn-lstm", "--language", "anbn", "--max-new-symbols", "16", "--json")
    report = json.loads(said(user, "-m", "hf_ruleextrap", "evaluate", *words))["conditions"][1]["greedy"]
    assert report == json.loads((tiny_run / "results.json").read_text())["best"]["conditions"][1]["greedy"]
