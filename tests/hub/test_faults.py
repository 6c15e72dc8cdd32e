"""What may go wrong while a folder goes up: one clear line, nothing half-published, and a repeat completes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub.loopback import ANSWER_LOST, BREAKS, PASSES, WRITER, Hub
from huggingface_hub import constants

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.hub.push import push

ALWAYS = 100
NAME = "ruleextrap/words"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The Hub of this very process, where nobody waits."""
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
    ("fault", "said"),
    [(BREAKS, "the Hub cannot be reached"), (503, "the Hub answers 503"), (403, r"the Hub refuses \(403\)")],
)
@pytest.mark.parametrize("where", ["/upload/", "/commit/"])
def test_what_never_comes_through_is_one_line_and_a_repeat_completes_it(
    hub: Hub, folder: Path, fault: int, said: str, where: str
) -> None:
    hub.failing, hub.failures = where, [fault] * ALWAYS
    with pytest.raises(RuleExtrapError, match=said) as raised:
        push(folder, NAME, "dataset")
    assert "\n" not in str(raised.value)
    assert hub.files("datasets", NAME) == {}
    hub.failures = []
    assert "updated in commit" in push(folder, NAME, "dataset")
    assert hub.files("datasets", NAME) == files(folder)


@pytest.mark.parametrize("where", ["/upload/", "/commit/"])
@pytest.mark.parametrize("fault", [BREAKS, ANSWER_LOST, 503])
def test_what_passes_is_not_noticed(hub: Hub, folder: Path, fault: int, where: str) -> None:
    (folder / "test.parquet").write_bytes(b"another")
    # The second of two uploads, or the first of two commits.
    hub.failing, hub.failures = where, [PASSES, fault] if where == "/upload/" else [fault]
    assert "created and updated in commit" in push(folder, NAME, "dataset")
    assert not hub.failures
    assert hub.files("datasets", NAME) == files(folder)


def test_an_upload_that_ends_in_an_error_of_another_library_is_one_line(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload(*_: object, **__: object) -> None:
        raise RuntimeError("Data processing error: CAS service error\nand more")

    monkeypatch.setattr("huggingface_hub._commit_api._upload_lfs_files", upload)
    line = "the upload does not come through: Data processing error: CAS service error; give the same command again"
    with pytest.raises(RuleExtrapError, match=f"^{line}$"):
        push(folder, NAME, "dataset")
    assert hub.files("datasets", NAME) == {}


def test_offline_nobody_waits(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits {seconds} s"))
    with pytest.raises(RuleExtrapError, match="HF_HUB_OFFLINE is set"):
        push(folder, NAME, "dataset")
    assert not hub.log
