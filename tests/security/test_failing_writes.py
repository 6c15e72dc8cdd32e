"""Disks that are full, folders that may not be written, and folders in use: every command that writes files."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from llm_server import Handler, Script, serving

from hf_ruleextrap.cli import main
from hf_ruleextrap.evaluation.text import AnswerCache
from hf_ruleextrap.files import hold, is_leftover

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {"os.mkdir", "os.rename", "os.link", "os.truncate"}


class ReadOnly:
    """Makes changes below a folder fail; the first ``allowed`` changes succeed.

    The tests may run as root, for whom the permissions of a folder do not count.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.allowed = 0
        self.number = errno.EROFS
        # An audit hook cannot be removed.
        sys.addaudithook(self._check)

    @contextmanager
    def __call__(self, folder: Path, number: int, *, allowed: int = 0) -> Iterator[None]:
        self.folder, self.number, self.allowed = folder.absolute(), number, allowed
        try:
            yield
        finally:
            self.folder = None

    def _check(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.folder is None or not (event == "open" or event in _CHANGES):
            return
        path, flags = arguments[0], arguments[2] if event == "open" else 0
        if event == "open" and not (isinstance(flags, int) and flags & _WRITES):
            return
        if not isinstance(path, (str, os.PathLike)) or not Path(path).absolute().is_relative_to(self.folder):
            return
        self.allowed -= 1
        if self.allowed < 0:
            raise OSError(self.number, os.strerror(self.number), str(path))


READ_ONLY = ReadOnly()


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow beyond some bytes: the system then refuses a write in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as server:
        yield server.url


@pytest.fixture
def commands(tiny_run: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The commands by name; each writes into the folder ``out`` of the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    shutil.copytree(tiny_run, "runs/tiny")
    recipe = {"max_length": 8, "train_size": 16, "held_out_size": 4, "max_steps": 2, "eval_steps": 2}
    recipe |= {"max_new_symbols": 8, "prompt_length": 4, "model": {"hidden_size": 8}, "use_cpu": True}
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    Path("grid.yaml").write_text(yaml.safe_dump({"recipes": ["recipe.yaml"], "axes": {"seed": [0]}}))
    server = ["--model", "m", "--language", "anbn", "--base-url", url]
    Path("out").mkdir()
    return {
        "evaluate": ["evaluate", *server, "--limit", "3", "--samples", "1", "--retries", "0", "--out", "out"],
        "report": ["report", "runs", "--out", "out"],
        "plot": ["plot", "runs/tiny", "--out", "out/run.svg"],
        "reach": ["reach", "--model", "runs/tiny", "--language", "anbn", "--lengths", "4", "--out", "out/reach.png"],
        "publish": ["publish", "checkpoint", "runs/tiny", "--to", "out"],
        "sweep": ["sweep", "grid.yaml", "--out", "out/store", "--workers", "1"],
    }


FAULTS = {
    "full": lambda: full_disk(300),
    "full at once": lambda: READ_ONLY(Path("out"), errno.ENOSPC),
    "read-only": lambda: READ_ONLY(Path("out"), errno.EROFS),
    "permission lost": lambda: READ_ONLY(Path("out"), errno.EACCES, allowed=4),
}
# A picture is one change of the folder. The workers of a sweep would keep the limit of the size; a training on a full
# disk has its own test.
CASES = [
    (name, fault)
    for name in ("evaluate", "report", "plot", "reach", "publish", "sweep")
    for fault in FAULTS
    if not (fault != "full" and name == "reach")
    and (name, fault) not in (("plot", "permission lost"), ("sweep", "full"))
]


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_a_failed_write_is_one_line_and_a_repeat_completes_the_work(
    name: str, fault: str, commands: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with FAULTS[fault]():
        assert main(commands[name]) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    line = errors.strip().splitlines()[-1]
    assert line.startswith("error: cannot write out")
    assert ("free some space" if fault.startswith("full") else "allow writing there") in line
    assert "run the same command again" in line
    assert not [path for path in Path("out").rglob("*") if is_leftover(path)]
    assert main(commands[name]) == 0, capsys.readouterr().err
    assert [path for path in Path("out").rglob("*") if path.is_file()]
    assert not [path for path in Path("out").rglob("*") if is_leftover(path)]


def test_answers_that_cannot_be_stored_are_taken_back_by_the_next_command(
    commands: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def count(handler: Handler, body: dict[str, object], number: int) -> None:
        asked.append(number)
        handler.choose(body)

    script: Script = count
    with serving(script) as server:
        command = [server.url if word.startswith("http://") else word for word in commands["evaluate"]]
        with READ_ONLY(Path("out/answers"), errno.ENOSPC):
            assert main(command) == 2
        assert "is kept in" in capsys.readouterr().err
        kept = list((tmp_path / "temporary").glob("hf-ruleextrap-answers-*.jsonl"))
        assert len(kept) == 1
        lines = len(kept[0].read_text().splitlines())
        assert lines == len(asked) > 0
        assert main(command) == 0
        assert not kept[0].exists()
        # Each of the six requests was sent once.
        assert len(asked) == 6
    assert len(list(Path("out/answers").glob("*/*.json"))) == 6


def test_a_torn_line_and_a_link_are_not_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cache = AnswerCache(tmp_path / "answers")
    put_aside = cache._elsewhere
    put_aside.write_text("a" * 64 + ' {"request": {}, "answer": {"text": "b"')
    cache.take_back()
    assert not list(tmp_path.rglob("*.json"))
    other = tmp_path / "other.txt"
    other.write_text("a" * 64 + ' {"answer": {}}\n')
    put_aside.symlink_to(other)
    cache.take_back()
    assert not list(tmp_path.rglob("*.json"))
    assert other.exists()


@pytest.mark.parametrize(
    ("name", "folder"), [("evaluate", "out"), ("report", "out"), ("publish", "out/ruleextrap/anbn-lstm")]
)
@pytest.mark.timeout(60)
def test_a_folder_in_use_is_named_or_waited_for(
    name: str, folder: str, commands: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    released = threading.Event()
    with hold(folder):
        assert main(commands[name]) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{folder} is in use by process {os.getpid()} on" in line
        assert "pass --wait" in line
        codes: list[int] = []

        def command() -> None:
            codes.append(main([*commands[name], "--wait"]))
            assert released.is_set()

        waiting = threading.Thread(target=command)
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive()
        released.set()
    waiting.join(50)
    assert codes == [0], capsys.readouterr().err
