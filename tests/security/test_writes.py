"""Writing and removing files: no other file is removed, and a failed write is one line and loses nothing."""

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
from language_models import Handler, Script, serving
from security.strangers import Stranger, tree
from tiny import TINY

from hf_ruleextrap import RuleExtrapError
from hf_ruleextrap.cli import main
from hf_ruleextrap.evaluation.text import AnswerCache
from hf_ruleextrap.files import hold, is_leftover
from hf_ruleextrap.hub.dataset import write_dataset
from hf_ruleextrap.train.checkpoints import latest_whole, remove_torn
from hf_ruleextrap.train.folder import RECIPE, RunFolder, remove_run, written_files
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe

SHORT = {**TINY, "max_steps": 2, "eval_steps": 1}


def overwrite(folder: str | Path) -> int:
    return main(
        ["train", *(f"--{key}={value}" for key, value in SHORT.items()), f"--output_dir={folder}", "--overwrite"]
    )


@pytest.mark.parametrize(
    "name",
    ["thesis.tex", "last/notes.txt", "checkpoint-10/mine.pt", "data/table.csv", "my_model.py", "runs/run.sh", "empty/"],
)
def test_a_folder_with_other_files_is_refused_by_naming_them(
    name: str, stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stranger.run / name
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if name.endswith("/") else path.write_text("mine")
    before = tree(stranger.run)
    assert overwrite("runs/theirs") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert name.rstrip("/") in line
    assert tree(stranger.run) == before
    assert path.exists()


def test_a_link_is_neither_followed_nor_removed(stranger: Stranger, capsys: pytest.CaptureFixture[str]) -> None:
    precious = stranger.folder / "precious"
    precious.mkdir()
    (precious / "model.safetensors").write_text("mine")
    shutil.rmtree(stranger.run / "last")
    (stranger.run / "last").symlink_to(precious)
    assert overwrite("runs/theirs") == 2
    assert "also holds last" in capsys.readouterr().err
    (stranger.run / "last").unlink()
    (stranger.run / "plot.png").unlink(missing_ok=True)
    (stranger.run / "plot.png").symlink_to(precious / "model.safetensors")
    assert overwrite("runs/theirs") == 2
    assert (precious / "model.safetensors").read_text() == "mine"


@pytest.mark.parametrize("where", [".", "..", "../..", "last"])
def test_the_working_directory_and_its_parents_are_refused(
    where: str, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = stranger.run if where == "." else stranger.run / "last"
    monkeypatch.chdir(place)
    before = tree(stranger.run)
    target = stranger.run if where != "last" else place
    if where == "last":
        shutil.copy(stranger.run / RECIPE, place)
        before = tree(stranger.run)
    assert overwrite(target) == 2
    assert "working directory" in capsys.readouterr().err
    assert tree(stranger.run) == before


@pytest.mark.parametrize("recipe", ["flour: 500 g\n", "language: [\n", None])
def test_a_folder_that_holds_no_run_is_refused(
    recipe: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cakes"
    folder.mkdir()
    (folder / "model.safetensors").write_text("mine")
    if recipe is not None:
        (folder / "recipe.yaml").write_text(recipe)
    before = tree(folder)
    assert overwrite(folder) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert tree(folder) == before


def test_overwrite_replaces_every_file_of_a_run(stranger: Stranger) -> None:
    (stranger.run / "plot.png").write_bytes(b"an older picture")
    (stranger.run / "runs" / "Nov28_host").mkdir(parents=True)
    (stranger.run / "runs" / "Nov28_host" / "events.out.tfevents.1.host").write_bytes(b"")
    # A killed process may leave an empty folder.
    (stranger.run / "checkpoint-7").mkdir()
    (stranger.run / "runs" / "Nov29_host").mkdir()
    assert written_files(stranger.run)[1] == []
    assert overwrite("runs/theirs") == 0
    assert not (stranger.run / "checkpoint-7").exists()
    assert not (stranger.run / "runs").exists()
    assert stranger.results()["recipe"]["max_steps"] == 2
    # The new run has a new plot.
    assert (stranger.run / "plot.png").read_bytes() != b"an older picture"
    assert not (stranger.run / "runs").exists()


def test_the_files_of_an_interrupted_run_can_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cut"

    def power_cut(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("hf_ruleextrap.train.run.package_versions", power_cut)
        with pytest.raises(OSError, match="power cut"):
            run_recipe(Recipe.of({**SHORT, "output_dir": str(folder)}, "test"))
    assert written_files(folder)[1] == []
    remove_run(folder, folder / RECIPE)
    assert list(folder.iterdir()) == []


def test_nothing_is_removed_from_a_folder_with_another_file(stranger: Stranger) -> None:
    (stranger.run / "a.txt").write_text("mine")
    before = tree(stranger.run)
    with pytest.raises(RuleExtrapError, match=r"also holds a\.txt"):
        RunFolder(stranger.run).claim(Recipe.of(SHORT, "test"), overwrite=True)
    assert tree(stranger.run) == before


def test_folders_that_are_no_checkpoints_survive_a_training(stranger: Stranger, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("mine")
    names = ["checkpoint-notes", "checkpoint-1-copy", "checkpoint-"]
    for name in names:
        (stranger.run / name).mkdir()
        (stranger.run / name / "kept").write_text("mine")
    (stranger.run / "checkpoint-7").symlink_to(other)
    folder = RunFolder(stranger.run)
    assert latest_whole(stranger.run) is None
    remove_torn(stranger.run)
    assert folder.last_step() == 0
    folder.clean_up()
    assert all((stranger.run / name / "kept").exists() for name in [*names, "checkpoint-7"])


def test_publishing_a_dataset_leaves_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "ban" / "default"
    small = {"max_length": 16, "train_size": 40, "held_out_size": 4}
    write_dataset("ban", tmp_path / "ban", **small, shard_words=20)
    shard = folder / "train-00001-of-00002.parquet"
    assert shard.exists()
    (folder / "survey.parquet").write_text("mine")
    (folder / "train-00000-of-00009.parquet").write_text("mine")
    (folder / "thesis.part").write_text("mine")
    write_dataset("ban", tmp_path / "ban", **small)
    assert not shard.exists()
    for name in ("survey.parquet", "train-00000-of-00009.parquet", "thesis.part"):
        assert (folder / name).read_text() == "mine"


_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {"os.mkdir", "os.rename", "os.link", "os.truncate"}


class ReadOnly:
    """A context in which changes below a folder fail after the first ``allowed`` changes.

    The tests may run as root, who may write whatever the permissions of a folder are.
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
    """Limit the size of files, so that the system refuses a write in the middle of a file."""
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


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of temporary files with a short path: that of a socket may have about 100 characters."""
    folder = tmp_path_factory.mktemp("t")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def commands(tiny_run: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return commands by their name. Each command writes into the folder ``out`` of the working directory."""
    monkeypatch.chdir(tmp_path)
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
# A figure is a single change of the folder. The workers of a sweep would keep the limit after the test; another test
# covers a training on a full disk.
CASES = [
    (name, fault)
    for name in ("evaluate", "report", "plot", "reach", "publish", "sweep")
    for fault in FAULTS
    if not (fault != "full" and name == "reach")
    and (name, fault) not in (("plot", "permission lost"), ("sweep", "full"))
]


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_a_failed_write_is_reported_in_one_line_and_a_repeat_completes_the_work(
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


def test_answers_that_cannot_be_stored_are_recovered_by_the_next_command(
    commands: dict[str, list[str]], capsys: pytest.CaptureFixture[str], temporary: Path
) -> None:
    request_numbers: list[int] = []

    def count(handler: Handler, body: dict[str, object], number: int) -> None:
        request_numbers.append(number)
        handler.answer(body)

    script: Script = count
    with serving(script) as server:
        command = [server.url if word.startswith("http://") else word for word in commands["evaluate"]]
        with READ_ONLY(Path("out/answers"), errno.ENOSPC):
            assert main(command) == 2
        assert "is kept in" in capsys.readouterr().err
        files = list(temporary.glob("hf-ruleextrap-answers-*.jsonl"))
        assert len(files) == 1
        lines = len(files[0].read_text().splitlines())
        assert lines == len(request_numbers) > 0
        assert main(command) == 0
        assert not files[0].exists()
        # The client has sent each of the six requests once.
        assert len(request_numbers) == 6
    assert len(list(Path("out/answers").glob("*/*.json"))) == 6


def test_a_torn_line_and_a_link_are_not_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cache = AnswerCache(tmp_path / "answers")
    put_aside = cache.put_aside
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
