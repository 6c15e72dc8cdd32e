"""The five ways to use the project, each in a new process without caches, from a folder and from the Hub.

The Space of the metric is tested as well.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hub.loopback import WRITER, Hub
from hub.test_push import SMALL, User
from tiny import TINY

from hf_ruleextrap import score
from hf_ruleextrap.cli import main
from hf_ruleextrap.hub.spaces import GRADIO

TRAIN = Path(__file__).parents[2] / "training" / "train.py"


@pytest.fixture(scope="module", params=["folder", "hub"])
def place(
    request: pytest.FixtureRequest, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Hub, Path]]:
    """Return the kind of place that holds the repositories, a Hub, and the folder in which a user starts."""
    hub, parent = Hub(), tmp_path_factory.mktemp(request.param)
    for words in (("dataset", "anbn", *SMALL), ("checkpoint", str(tiny_run)), ("metric",)):
        if request.param == "hub":
            process = User(hub, parent / words[0], WRITER).publish(*words)
            assert process.returncode == 0, process.stderr
        else:
            assert main(["publish", *words, "--to", str(parent)]) == 0
    yield request.param, hub, parent
    hub.close()


@pytest.fixture
def user(place: tuple[str, Hub, Path], tmp_path: Path) -> User:
    where, hub, parent = place
    new_user = User(hub, tmp_path / "user", "" if where == "folder" else WRITER)
    if where == "folder":
        new_user.environment |= {"HF_HUB_OFFLINE": "1"}
        (new_user.folder / "ruleextrap").symlink_to(parent / "ruleextrap")
    return new_user


def output_of(user: User, *words: str) -> str:
    process = user.run(*words)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_load_dataset_loads_every_configuration(user: User) -> None:
    code = """
from datasets import load_dataset
for config in (None, "paper", "prompts"):
    print({name: len(rows) for name, rows in load_dataset("ruleextrap/anbn", config).items()})
print(next(iter(load_dataset("ruleextrap/anbn", "prompts", split="ood", streaming=True)))["prompt"])
"""
    default, paper, prompts, first = output_of(user, "-c", code).splitlines()
    assert default == "{'train': 8, 'validation': 8, 'test': 8}"
    assert paper == "{'train': 8, 'validation': 8, 'test': 8}"
    assert prompts == "{'id': 5, 'ood': 251}"
    assert first == "aaaaaaba"


def test_from_pretrained_loads_a_model_and_its_tokenizer(user: User) -> None:
    code = """
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("ruleextrap/anbn-lstm", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("ruleextrap/anbn-lstm", trust_remote_code=True)
tokens = tokenizer("aab", return_tensors="pt")
print(type(model).__name__, tuple(model(**tokens).logits.shape))
"""
    assert output_of(user, "-c", code) == "RuleLSTMForCausalLM (1, 4, 5)"


def test_evaluate_load_computes_the_metric(user: User) -> None:
    code = """
import evaluate
metric = evaluate.load("ruleextrap/rule_extrapolation", "anbn")
print(metric.compute(predictions=["b"], references=["baa"])["headline"]["rate"])
"""
    assert output_of(user, "-c", code) == "1.0"


def test_a_launched_training_writes_and_publishes_its_run(user: User, place: tuple[str, Hub, Path]) -> None:
    flags = [f"--{key}={value}" for key, value in {**TINY, "max_steps": 2, "eval_steps": 2}.items()]
    online = place[0] == "hub"
    launch = ["-m", "accelerate.commands.launch", "--num_processes=1", str(TRAIN), *flags, "--output_dir=made"]
    last = output_of(user, *launch, *(["--push-to-hub"] if online else [])).splitlines()[-1]
    assert (user.folder / "made" / "model.safetensors").exists()
    if online:
        assert "/tester/anbn-lstm: created and updated in commit" in last
        assert {"README.md", "results.json"} <= set(place[1].files("models", "tester/anbn-lstm"))


def test_evaluate_repeats_the_results_of_the_run(user: User, tiny_run: Path) -> None:
    words = ("--model", "ruleextrap/anbn-lstm", "--language", "anbn", "--max-new-symbols", "16", "--json")
    report = json.loads(output_of(user, "-m", "hf_ruleextrap", "evaluate", *words))["conditions"][1]["greedy"]
    assert report == json.loads((tiny_run / "results.json").read_text())["best"]["conditions"][1]["greedy"]


CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    assert main(["publish", "metric", "--to", str(folder)]) == 0
    return folder / "ruleextrap" / "rule_extrapolation"


def test_the_card_names_the_page_and_the_version_of_gradio(space: Path) -> None:
    metadata = yaml.safe_load((space / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert (metadata["sdk"], metadata["app_file"]) == ("gradio", "app.py")
    assert (space / metadata["app_file"]).exists()
    assert metadata["sdk_version"] == GRADIO
    assert f"gradio=={GRADIO}" in CONSTRAINTS.read_text().split()
    imports = re.findall(r"^(?:import|from) (\w+)", (space / "app.py").read_text(encoding="utf-8"), re.MULTILINE)
    # A Space has Gradio without a requirement.
    assert {"evaluate", "datasets", "numpy"} == set((space / "requirements.txt").read_text().split())
    assert set(imports) <= {"__future__", "pathlib", "typing", "evaluate", "gradio", "rules"}


@pytest.mark.timeout(120)
def test_the_page_starts_and_computes_the_metric(space: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the page needs Gradio (extra demo)")
    from gradio_client import Client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HOME": str(tmp_path),
        # The Space must work without this package.
        "PYTHONPATH": "",
    }
    with subprocess.Popen([sys.executable, "app.py"], cwd=space, env=environment, stdout=subprocess.DEVNULL) as page:
        try:
            client = _client(Client, f"http://127.0.0.1:{port}")
            rows = {"headers": ["prompt", "completion", "finished"], "data": [["baa", "b", True], ["ba", "bb", False]]}
            rates = client.predict("anbn", rows, api_name="/compute")
            assert rates == score("anbn", ["baa", "ba"], ["b", "bb"], [True, False]).to_dict()
            rows["data"][0][0] = "xyz"
            with pytest.raises(Exception, match="not a symbol"):
                client.predict("anbn", rows, api_name="/compute")
        finally:
            page.kill()


def _client(client_class: type, url: str) -> object:
    deadline = time.monotonic() + 60
    while True:
        try:
            return client_class(url, verbose=False)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
