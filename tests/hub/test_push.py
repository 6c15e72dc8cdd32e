"""Publishing and loading over real HTTP, to a Hub on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.loopback import READER, WRITER, Hub
from tiny import TINY


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


class User:
    """Someone with a token, a folder of their own, and nothing cached."""

    def __init__(self, hub: Hub, folder: Path, token: str) -> None:
        self.folder = folder
        folder.mkdir()
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
        self.environment = kept | settings | ({"HF_TOKEN": token} if token else {})

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def publish(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "hf_ruleextrap", "publish", *words, "--to", "made", "--push-to-hub")


SMALL = ("--max-length", "16", "--train-size", "50")
LOAD = """
from datasets import load_dataset
print(load_dataset("ruleextrap/anbn", split="train")[0])
print(next(iter(load_dataset("ruleextrap/anbn", "prompts", split="ood", streaming=True)))["prompt"])
"""


def test_a_dataset_goes_up_once_and_is_loaded_by_another(hub: Hub, tmp_path: Path) -> None:
    writer, other = User(hub, tmp_path / "writer", WRITER), User(hub, tmp_path / "other", "")
    first = writer.publish("dataset", "anbn", *SMALL)
    assert "created and updated in commit" in first.stdout, first.stderr
    held = hub.files("datasets", "ruleextrap/anbn")
    made = tmp_path / "writer" / "made" / "ruleextrap" / "anbn"
    for path in made.rglob("*"):
        assert path.is_dir() or held[str(path.relative_to(made))] == path.read_bytes()
    commits = len(hub.repositories["datasets", "ruleextrap/anbn"].commits)
    again = writer.publish("dataset", "anbn", *SMALL)
    assert "nothing has changed" in again.stdout, again.stderr
    assert len(hub.repositories["datasets", "ruleextrap/anbn"].commits) == commits
    loaded = other.run("-c", LOAD)
    assert loaded.stdout.splitlines() == ["{'text': 'ab', 'length': 2, 'n': 1}", "aaaaaaba"], loaded.stderr


def test_a_checkpoint_and_its_seeds(hub: Hub, tiny_run: Path, tmp_path: Path) -> None:
    writer, other = User(hub, tmp_path / "writer", WRITER), User(hub, tmp_path / "other", "")
    assert writer.publish("checkpoint", str(tiny_run)).returncode == 0
    assert "model.safetensors" in hub.files("models", "ruleextrap/anbn-lstm")
    again = tmp_path / "seed1"
    shutil.copytree(tiny_run, again)
    results = json.loads((again / "results.json").read_text())
    results["recipe"]["seed"] = 1
    (again / "results.json").write_text(json.dumps(results))
    seed = writer.publish("checkpoint", str(again))
    assert seed.returncode == 0, seed.stderr
    assert "model.safetensors" in hub.files("models", "ruleextrap/anbn-lstm", "seed-1")
    code = (
        "from transformers import AutoModelForCausalLM as M; "
        "m = M.from_pretrained('ruleextrap/anbn-lstm', trust_remote_code=True); print(type(m).__name__)"
    )
    loaded = other.run("-c", code)
    assert loaded.stdout.strip() == "RuleLSTMForCausalLM", loaded.stderr


def test_a_collection_is_made_once_and_gets_what_it_lacks(hub: Hub, tmp_path: Path) -> None:
    writer = User(hub, tmp_path / "writer", WRITER)
    code = """
from hf_ruleextrap.hub.push import push_collection
repositories = [("ruleextrap/anbn", "dataset"), ("ruleextrap/anbn-lstm", "model")]
print(push_collection("ruleextrap", repositories[:1]))
print(push_collection("ruleextrap", repositories))
print(push_collection("ruleextrap", repositories))
"""
    done = writer.run("-c", code)
    (collection,) = hub.collections.values()
    assert collection["title"] == "Rule extrapolation", done.stderr
    assert [(item["type"], item["id"]) for item in collection["items"]] == [
        ("dataset", "ruleextrap/anbn"),
        ("model", "ruleextrap/anbn-lstm"),
    ]
    url = f"{hub.url}/collections/{collection['slug']}"
    added = f"{url}: 1 repository added"
    assert done.stdout.splitlines() == [added, added, f"{url}: nothing has changed"]


def test_a_private_repository_is_for_those_with_a_token(hub: Hub, tmp_path: Path) -> None:
    assert User(hub, tmp_path / "writer", WRITER).publish("dataset", "anbn", *SMALL, "--private").returncode == 0
    assert User(hub, tmp_path / "friend", READER).run("-c", LOAD).returncode == 0
    assert User(hub, tmp_path / "stranger", "").run("-c", LOAD).returncode != 0


@pytest.mark.parametrize("token", ["", READER])
def test_who_may_not_write_is_told_so_in_one_line(hub: Hub, tmp_path: Path, token: str) -> None:
    done = User(hub, tmp_path / "user", token).publish("dataset", "anbn", *SMALL)
    assert done.returncode == 2
    assert "hf auth login" in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert READER not in done.stderr
    assert not hub.repositories


def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.failures = [429, 503]
    done = User(hub, tmp_path / "writer", WRITER).publish("dataset", "anbn", *SMALL)
    assert done.returncode == 0, done.stderr
    assert not hub.failures
    assert "README.md" in hub.files("datasets", "ruleextrap/anbn")


def test_two_publishers_at_once_lose_nothing(hub: Hub, tmp_path: Path) -> None:
    writer = User(hub, tmp_path / "writer", WRITER)
    hub.rivals = 1
    done = writer.publish("dataset", "anbn", *SMALL)
    assert done.returncode == 2
    assert "another user has published there at the same time: run the same command again" in done.stderr
    assert hub.files("datasets", "ruleextrap/anbn") == {"rival.txt": b"first"}
    assert writer.publish("dataset", "anbn", *SMALL).returncode == 0
    assert {"rival.txt", "README.md"} <= set(hub.files("datasets", "ruleextrap/anbn"))


def test_a_connection_that_breaks_leaves_nothing_half_published(hub: Hub, tmp_path: Path) -> None:
    writer = User(hub, tmp_path / "writer", WRITER)
    hub.failures = [0] * 200
    done = writer.publish("dataset", "anbn", *SMALL)
    assert done.returncode == 2, done.stderr
    assert "the Hub cannot be reached" in done.stderr
    assert not hub.repositories
    hub.failures = []
    assert writer.publish("dataset", "anbn", *SMALL).returncode == 0


def test_the_token_is_nowhere(hub: Hub, tmp_path: Path) -> None:
    writer = User(hub, tmp_path / "writer", WRITER)
    for failures in ([400], []):
        hub.failures = list(failures)
        done = writer.publish("dataset", "anbn", *SMALL)
        assert done.returncode == (2 if failures else 0)
        assert WRITER not in done.stdout + done.stderr
    for path in writer.folder.rglob("*"):
        assert path.is_dir() or WRITER.encode() not in path.read_bytes(), path


def test_a_training_publishes_its_run_and_anyone_loads_it(hub: Hub, tmp_path: Path) -> None:
    writer, other = User(hub, tmp_path / "writer", WRITER), User(hub, tmp_path / "other", "")
    script = str(Path(__file__).parents[2] / "training" / "train.py")
    flags = [f"--{key}={value}" for key, value in {**TINY, "max_steps": 4, "eval_steps": 2, "seed": 1}.items()]
    command = ["-m", "accelerate.commands.launch", "--num_processes=1", script, *flags, "--push_to_hub"]
    done = writer.run(*command)
    assert "/tester/anbn-lstm: created and updated in commit" in done.stdout, done.stderr
    assert hub.files("models", "tester/anbn-lstm") == {}
    assert {"README.md", "results.json", "model.safetensors"} <= set(hub.files("models", "tester/anbn-lstm", "seed-1"))
    code = (
        "from transformers import AutoModelForCausalLM as M; "
        "m = M.from_pretrained('tester/anbn-lstm', revision='seed-1', trust_remote_code=True); "
        "print(m.num_parameters())"
    )
    assert int(other.run("-c", code).stdout) > 1000


def test_whoever_is_not_logged_in_is_told_before_the_training(hub: Hub, tmp_path: Path) -> None:
    user = User(hub, tmp_path / "user", "")
    done = user.run("-m", "hf_ruleextrap", "train", "--max_steps=1", "--push_to_hub")
    assert done.returncode == 2
    line = "error: nobody is logged in: log in with `hf auth login` and a token that may write there"
    assert done.stderr.strip() == line
    assert not (user.folder / "runs").exists()


def test_a_card_that_the_hub_rejects_is_one_line_and_a_repeat_completes_it(hub: Hub, tmp_path: Path) -> None:
    writer = User(hub, tmp_path / "writer", WRITER)
    hub.rejects = '"license" must be one of [apache-2.0, ...]'
    done = writer.publish("dataset", "anbn", *SMALL)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "error: the Hub rejects the upload: Invalid metadata in README.md. - " + hub.rejects
    ]
    assert hub.files("datasets", "ruleextrap/anbn") == {}
    hub.rejects = ""
    assert writer.publish("dataset", "anbn", *SMALL).returncode == 0
    assert "README.md" in hub.files("datasets", "ruleextrap/anbn")


def test_the_trainer_s_own_push_works_with_our_models(hub: Hub, tmp_path: Path) -> None:
    writer, other = User(hub, tmp_path / "writer", WRITER), User(hub, tmp_path / "other", "")
    code = """
import torch
from transformers import Trainer, TrainingArguments
from hf_ruleextrap import build_model
rows = [{"input_ids": torch.tensor([1, 3, 4, 2]), "labels": torch.tensor([1, 3, 4, 2])}] * 4
arguments = TrainingArguments("made", max_steps=2, report_to=[], push_to_hub=True, hub_model_id="tester/mine")
trainer = Trainer(build_model("lstm", language="anbn", size="mini"), arguments, train_dataset=rows)
trainer.train()
trainer.push_to_hub()
"""
    done = writer.run("-c", code)
    assert done.returncode == 0, done.stderr
    load = (
        "from transformers import AutoModelForCausalLM as M; "
        "print(M.from_pretrained('tester/mine', trust_remote_code=True).config.model_type)"
    )
    assert other.run("-c", load).stdout.strip() == "ruleextrap_lstm"
