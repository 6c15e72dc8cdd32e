"""Publishing and loading over HTTP with a Hub on this machine."""

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
    """A user with a token, a folder and an empty cache."""

    def __init__(self, hub: Hub, folder: Path, token: str) -> None:
        self.folder = folder
        folder.mkdir()
        other_variables = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
        self.environment = other_variables | settings | ({"HF_TOKEN": token} if token else {})

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


def test_a_dataset_is_uploaded_once_and_loaded_by_another_user(hub: Hub, tmp_path: Path) -> None:
    writer, other = User(hub, tmp_path / "writer", WRITER), User(hub, tmp_path / "other", "")
    first = writer.publish("dataset", "anbn", *SMALL)
    assert "created and updated in commit" in first.stdout, first.stderr
    published = hub.files("datasets", "ruleextrap/anbn")
    folder = tmp_path / "writer" / "made" / "ruleextrap" / "anbn"
    for path in folder.rglob("*"):
        assert path.is_dir() or published[str(path.relative_to(folder))] == path.read_bytes()
    commits = len(hub.repositories["datasets", "ruleextrap/anbn"].commits)
    second = writer.publish("dataset", "anbn", *SMALL)
    assert "nothing has changed" in second.stdout, second.stderr
    assert len(hub.repositories["datasets", "ruleextrap/anbn"].commits) == commits
    loaded = other.run("-c", LOAD)
    assert loaded.stdout.splitlines() == ["{'text': 'ab', 'length': 2, 'n': 1}", "aaaaaaba"], loaded.stderr


def test_the_seeds_of_a_checkpoint_are_branches_of_one_repository(hub: Hub, tiny_run: Path, tmp_path: Path) -> None:
    writer, other = User(hub, tmp_path / "writer", WRITER), User(hub, tmp_path / "other", "")
    assert writer.publish("checkpoint", str(tiny_run)).returncode == 0
    assert "model.safetensors" in hub.files("models", "ruleextrap/anbn-lstm")
    copied_run = tmp_path / "seed1"
    shutil.copytree(tiny_run, copied_run)
    results = json.loads((copied_run / "results.json").read_text())
    results["recipe"]["seed"] = 1
    (copied_run / "results.json").write_text(json.dumps(results))
    seed = writer.publish("checkpoint", str(copied_run))
    assert seed.returncode == 0, seed.stderr
    assert "model.safetensors" in hub.files("models", "ruleextrap/anbn-lstm", "seed-1")
    code = (
        "from transformers import AutoModelForCausalLM as M; "
        "m = M.from_pretrained('ruleextrap/anbn-lstm', trust_remote_code=True); print(type(m).__name__)"
    )
    loaded = other.run("-c", code)
    assert loaded.stdout.strip() == "RuleLSTMForCausalLM", loaded.stderr


def test_a_collection_is_created_once_and_receives_missing_repositories(hub: Hub, tmp_path: Path) -> None:
    writer = User(hub, tmp_path / "writer", WRITER)
    code = """
from hf_ruleextrap.hub.push import push_collection
repositories = [("ruleextrap/anbn", "dataset"), ("ruleextrap/anbn-lstm", "model")]
print(push_collection("ruleextrap", repositories[:1]))
print(push_collection("ruleextrap", repositories))
print(push_collection("ruleextrap", repositories))
"""
    process = writer.run("-c", code)
    (collection,) = hub.collections.values()
    assert collection["title"] == "Rule extrapolation", process.stderr
    assert [(item["type"], item["id"]) for item in collection["items"]] == [
        ("dataset", "ruleextrap/anbn"),
        ("model", "ruleextrap/anbn-lstm"),
    ]
    url = f"{hub.url}/collections/{collection['slug']}"
    added = f"{url}: 1 repository added"
    assert process.stdout.splitlines() == [added, added, f"{url}: nothing has changed"]


def test_a_private_repository_requires_a_token(hub: Hub, tmp_path: Path) -> None:
    assert User(hub, tmp_path / "writer", WRITER).publish("dataset", "anbn", *SMALL, "--private").returncode == 0
    assert User(hub, tmp_path / "friend", READER).run("-c", LOAD).returncode == 0
    assert User(hub, tmp_path / "stranger", "").run("-c", LOAD).returncode != 0


@pytest.mark.parametrize("token", ["", READER])
def test_a_missing_write_permission_is_reported_in_one_line(hub: Hub, tmp_path: Path, token: str) -> None:
    process = User(hub, tmp_path / "user", token).publish("dataset", "anbn", *SMALL)
    assert process.returncode == 2
    assert "hf auth login" in process.stderr
    assert process.stderr.strip().count("\n") == 0
    assert READER not in process.stderr
    assert not hub.repositories


def test_requests_to_a_busy_hub_are_repeated(hub: Hub, tmp_path: Path) -> None:
    hub.failures = [429, 503]
    process = User(hub, tmp_path / "writer", WRITER).publish("dataset", "anbn", *SMALL)
    assert process.returncode == 0, process.stderr
    assert not hub.failures
    assert "README.md" in hub.files("datasets", "ruleextrap/anbn")


def test_simultaneous_publishers_lose_no_file(hub: Hub, tmp_path: Path) -> None:
    writer = User(hub, tmp_path / "writer", WRITER)
    hub.rivals = 1
    process = writer.publish("dataset", "anbn", *SMALL)
    assert process.returncode == 2
    assert "another user has published there at the same time: run the same command again" in process.stderr
    assert hub.files("datasets", "ruleextrap/anbn") == {"rival.txt": b"first"}
    assert writer.publish("dataset", "anbn", *SMALL).returncode == 0
    assert {"rival.txt", "README.md"} <= set(hub.files("datasets", "ruleextrap/anbn"))


def test_a_connection_that_breaks_leaves_nothing_half_published(hub: Hub, tmp_path: Path) -> None:
    writer = User(hub, tmp_path / "writer", WRITER)
    hub.failures = [0] * 200
    process = writer.publish("dataset", "anbn", *SMALL)
    assert process.returncode == 2, process.stderr
    assert "the Hub cannot be reached" in process.stderr
    assert not hub.repositories
    hub.failures = []
    assert writer.publish("dataset", "anbn", *SMALL).returncode == 0


def test_the_token_appears_in_no_output_and_no_file(hub: Hub, tmp_path: Path) -> None:
    writer = User(hub, tmp_path / "writer", WRITER)
    for failures in ([400], []):
        hub.failures = list(failures)
        process = writer.publish("dataset", "anbn", *SMALL)
        assert process.returncode == (2 if failures else 0)
        assert WRITER not in process.stdout + process.stderr
    for path in writer.folder.rglob("*"):
        assert path.is_dir() or WRITER.encode() not in path.read_bytes(), path


def test_a_training_publishes_its_run_and_another_user_loads_it(hub: Hub, tmp_path: Path) -> None:
    writer, other = User(hub, tmp_path / "writer", WRITER), User(hub, tmp_path / "other", "")
    script = str(Path(__file__).parents[2] / "training" / "train.py")
    flags = [f"--{key}={value}" for key, value in {**TINY, "max_steps": 4, "eval_steps": 2, "seed": 1}.items()]
    command = ["-m", "accelerate.commands.launch", "--num_processes=1", script, *flags, "--push_to_hub"]
    process = writer.run(*command)
    assert "/tester/anbn-lstm: created and updated in commit" in process.stdout, process.stderr
    assert hub.files("models", "tester/anbn-lstm") == {}
    assert {"README.md", "results.json", "model.safetensors"} <= set(hub.files("models", "tester/anbn-lstm", "seed-1"))
    code = (
        "from transformers import AutoModelForCausalLM as M; "
        "m = M.from_pretrained('tester/anbn-lstm', revision='seed-1', trust_remote_code=True); "
        "print(m.num_parameters())"
    )
    assert int(other.run("-c", code).stdout) > 1000


def test_a_missing_login_is_reported_before_the_training(hub: Hub, tmp_path: Path) -> None:
    user = User(hub, tmp_path / "user", "")
    process = user.run("-m", "hf_ruleextrap", "train", "--max_steps=1", "--push_to_hub")
    assert process.returncode == 2
    line = "error: nobody is logged in: log in with `hf auth login` and a token that may write there"
    assert process.stderr.strip() == line
    assert not (user.folder / "runs").exists()


def test_a_rejected_card_is_reported_in_one_line_and_a_repeat_completes_the_upload(hub: Hub, tmp_path: Path) -> None:
    writer = User(hub, tmp_path / "writer", WRITER)
    hub.rejects = '"license" must be one of [apache-2.0, ...]'
    process = writer.publish("dataset", "anbn", *SMALL)
    assert process.returncode == 2
    assert process.stderr.strip().splitlines() == [
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
    process = writer.run("-c", code)
    assert process.returncode == 0, process.stderr
    load = (
        "from transformers import AutoModelForCausalLM as M; "
        "print(M.from_pretrained('tester/mine', trust_remote_code=True).config.model_type)"
    )
    assert other.run("-c", load).stdout.strip() == "ruleextrap_lstm"
