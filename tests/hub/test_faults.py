"""Faults during an upload: the error is one line, nothing is half-published, and a repeat completes the upload."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.loopback import ANSWER_LOST, BREAKS, FINE, PASSES, READER, WRITER, Hub, Repository
from huggingface_hub import constants
from tiny import TINY

from hf_ruleextrap.cli import main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.hub.push import publisher, push_folder

ALWAYS = 100
NAME = "ruleextrap/words"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Start a Hub for the client in this process, which does not wait between attempts."""
    hub = Hub()
    for name, value in {"ENDPOINT": hub.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    yield hub
    hub.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "README.md").write_text("# Words\n")
    (tmp_path / "words" / "train.parquet").write_bytes(bytes(range(256)) * 1000)
    return tmp_path / "words"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("fault", "message"),
    [(BREAKS, "the Hub cannot be reached"), (503, "the Hub answers 503"), (403, r"the Hub refuses \(403\)")],
)
@pytest.mark.parametrize("where", ["/upload/", "/commit/"])
def test_a_failed_upload_is_reported_in_one_line_and_a_repeat_completes_it(
    hub: Hub, folder: Path, fault: int, message: str, where: str
) -> None:
    hub.failing, hub.failures = where, [fault] * ALWAYS
    with pytest.raises(RuleExtrapError, match=message) as raised:
        push_folder(folder, NAME, "dataset")
    assert "\n" not in str(raised.value)
    assert hub.files("datasets", NAME) == {}
    hub.failures = []
    assert "updated in commit" in push_folder(folder, NAME, "dataset")
    assert hub.files("datasets", NAME) == files(folder)


@pytest.mark.parametrize("where", ["/upload/", "/commit/"])
@pytest.mark.parametrize("fault", [BREAKS, ANSWER_LOST, 503])
def test_a_temporary_fault_does_not_stop_an_upload(hub: Hub, folder: Path, fault: int, where: str) -> None:
    (folder / "test.parquet").write_bytes(b"another")
    # The second of two uploads, or the first of two commits.
    hub.failing, hub.failures = where, [PASSES, fault] if where == "/upload/" else [fault]
    assert "created and updated in commit" in push_folder(folder, NAME, "dataset")
    assert not hub.failures
    assert hub.files("datasets", NAME) == files(folder)


def test_files_removed_from_the_folder_are_deleted_in_the_same_commit(hub: Hub, folder: Path) -> None:
    (folder / "train-2.parquet").write_bytes(b"another shard")
    push_folder(folder, NAME, "dataset")
    repository = hub.repositories["datasets", NAME]
    by_hand = {"NOTES.md": b"Mine.", ".gitattributes": b"*.parquet filter=lfs"}
    repository.commits[repository.branches["main"]] |= by_hand
    (folder / "train-2.parquet").unlink()
    commits = len(repository.commits)
    assert "updated in commit" in push_folder(folder, NAME, "dataset")
    assert hub.files("datasets", NAME) == files(folder) | by_hand
    assert len(repository.commits) == commits + 1
    assert "nothing has changed" in push_folder(folder, NAME, "dataset")


def test_an_error_of_another_library_during_an_upload_is_reported_in_one_line(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload(*_: object, **__: object) -> None:
        raise RuntimeError("Data processing error: CAS service error\nand more")

    monkeypatch.setattr("huggingface_hub._commit_api._upload_lfs_files", upload)
    line = "the upload failed: Data processing error: CAS service error; run the same command again"
    with pytest.raises(RuleExtrapError, match=f"^{line}$"):
        push_folder(folder, NAME, "dataset")
    assert hub.files("datasets", NAME) == {}


def test_offline_publishing_fails_without_waiting(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits {seconds} s"))
    with pytest.raises(RuleExtrapError, match="HF_HUB_OFFLINE is set"):
        push_folder(folder, NAME, "dataset")
    assert not hub.log


@pytest.mark.parametrize(
    ("token", "organization", "message"),
    [
        ("", None, "nobody is logged in"),
        ("hf_wrong", None, r"the Hub refuses \(401\): log in"),
        (READER, None, "the token of tester only reads: log in"),
        (WRITER, "google", "tester may not publish as 'google': choose one of tester, ruleextrap"),
    ],
)
def test_a_missing_permission_is_reported_before_the_work_begins(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str,
    organization: str | None,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(RuleExtrapError, match=message):
        publisher(organization)
    owner = [] if organization is None else [f"--hub_organization={organization}"]
    assert main(["train", "--max_steps=1", "--push_to_hub", *owner]) == 2
    owner = [] if organization is None else [f"--org={organization}"]
    assert main(["publish", "metric", "--push-to-hub", *owner]) == 2
    assert not [*tmp_path.iterdir()]
    assert token not in capsys.readouterr().err or not token
    assert not hub.repositories


def test_the_hub_decides_about_a_fine_grained_token(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", FINE)
    assert publisher("google") == "google"
    with pytest.raises(RuleExtrapError, match=r"the Hub refuses \(403\)"):
        push_folder(folder, "google/words", "dataset")
    assert not hub.repositories
    assert "created" in push_folder(folder, NAME, "dataset")


def test_a_repository_of_another_owner_is_not_changed(hub: Hub, folder: Path) -> None:
    hub.repositories["datasets", "google/words"] = Repository()
    with pytest.raises(RuleExtrapError, match=r"the Hub refuses \(403\)"):
        push_folder(folder, "google/words", "dataset")
    assert hub.files("datasets", "google/words") == {}


def test_a_repeated_training_publishes_a_finished_run_without_training(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {**TINY, "max_steps": 4, "eval_steps": 2, "output_dir": "made", "hub_organization": "ruleextrap"}
    command = ["train", *(f"--{key}={value}" for key, value in values.items())]
    hub.failing, hub.failures = "/upload/", [403] * ALWAYS
    assert main([*command, "--push_to_hub"]) == 2
    printed = capfd.readouterr()
    (line,) = printed.err.strip().splitlines()[-1:]
    repetition = "hf-ruleextrap publish checkpoint made --org ruleextrap --push-to-hub"
    assert line.startswith("error: the Hub refuses (403)")
    assert line.endswith(f"the run is finished, and the same command, or `{repetition}`, publishes it without training")
    assert hub.files("models", "ruleextrap/anbn-lstm") == {}
    assert WRITER not in printed.out + printed.err
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert WRITER.encode() not in path.read_bytes(), path

    hub.failures = []
    monkeypatch.setattr("hf_ruleextrap.train.trainer.RuleTrainer.train", lambda *_, **__: pytest.fail("trains again"))
    assert main([*command, "--push_to_hub"]) == 0
    assert "updated in commit" in capfd.readouterr().out
    published = hub.files("models", "ruleextrap/anbn-lstm")
    assert published["model.safetensors"] == (tmp_path / "made" / "model.safetensors").read_bytes()
    assert main(repetition.split()[1:]) == 0
    assert "nothing has changed" in capfd.readouterr().out


def test_a_run_of_another_recipe_is_not_published(hub: Hub, tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(tiny_run / "recipe.yaml"), "--push_to_hub"]
    assert main([*command, "--learning_rate=0.1"]) == 2
    assert "already holds a finished run" in capsys.readouterr().err
    assert not hub.repositories
    assert main(command) == 0
    card = json.loads(hub.files("models", "tester/anbn-lstm")["results.json"])
    assert card["training"] == json.loads((tiny_run / "results.json").read_text())["training"]


def test_publishing_prints_at_most_one_line_on_stderr(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # The settings of a user who has set nothing.
    bars = importlib.import_module("huggingface_hub.utils.tqdm")
    monkeypatch.setattr(bars, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setattr(bars, "progress_bar_states", {})
    hub.failing, hub.failures = "/upload/", [503] * ALWAYS
    command = ["publish", "dataset", "anbn", "--max-length=16", "--train-size=20", "--push-to-hub"]
    assert main(command) == 2
    assert capfd.readouterr().err.startswith("error: the Hub answers 503: ")
    hub.failures = []
    assert main(command) == 0
    assert capfd.readouterr().err == ""
