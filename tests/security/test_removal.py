"""Nothing is removed that is not ours: neither by --overwrite, nor by a training that ends, nor by publishing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from security.strangers import Stranger, tree
from tiny import TINY

from hf_ruleextrap import RuleExtrapError
from hf_ruleextrap.cli import main
from hf_ruleextrap.hub.dataset import write_dataset
from hf_ruleextrap.train.checkpoints import latest_whole, remove_torn
from hf_ruleextrap.train.folder import RECIPE, RunFolder
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe
from hf_ruleextrap.train.written import remove_run, written_files

SHORT = {**TINY, "max_steps": 2, "eval_steps": 1}


def overwrite(folder: str | Path) -> int:
    return main(
        ["train", *(f"--{key}={value}" for key, value in SHORT.items()), f"--output_dir={folder}", "--overwrite"]
    )


@pytest.mark.parametrize(
    "name",
    ["thesis.tex", "last/notes.txt", "checkpoint-10/mine.pt", "data/table.csv", "my_model.py", "runs/run.sh", "empty/"],
)
def test_a_folder_with_other_files_is_refused_and_they_are_named(
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


def test_a_run_is_replaced_and_its_files_are_all_in_the_list(stranger: Stranger) -> None:
    (stranger.run / "plot.png").write_bytes(b"an older picture")
    (stranger.run / "runs" / "Nov28_host").mkdir(parents=True)
    (stranger.run / "runs" / "Nov28_host" / "events.out.tfevents.1.host").write_bytes(b"")
    # A kill may leave a folder without its files.
    (stranger.run / "checkpoint-7").mkdir()
    (stranger.run / "runs" / "Nov29_host").mkdir()
    assert written_files(stranger.run)[1] == []
    assert overwrite("runs/theirs") == 0
    assert not (stranger.run / "checkpoint-7").exists()
    assert not (stranger.run / "runs").exists()
    assert stranger.results()["recipe"]["max_steps"] == 2
    # The new run has a picture of its own.
    assert (stranger.run / "plot.png").read_bytes() != b"an older picture"
    assert not (stranger.run / "runs").exists()


def test_a_run_that_was_cut_off_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_nothing_is_removed_where_one_file_is_somebody_else_s(stranger: Stranger) -> None:
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
    ours = folder / "train-00001-of-00002.parquet"
    assert ours.exists()
    (folder / "survey.parquet").write_text("mine")
    (folder / "train-00000-of-00009.parquet").write_text("mine")
    (folder / "thesis.part").write_text("mine")
    write_dataset("ban", tmp_path / "ban", **small)
    assert not ours.exists()
    for name in ("survey.parquet", "train-00000-of-00009.parquet", "thesis.part"):
        assert (folder / name).read_text() == "mine"
