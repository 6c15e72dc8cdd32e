"""Draws that are too large for memory: shards, resumed draws, and torn files."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset

from hf_ruleextrap import get_language
from hf_ruleextrap.cli import main
from hf_ruleextrap.data import build_splits, fingerprints
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.hub import parquet
from hf_ruleextrap.hub.dataset import word_columns, write_dataset

SMALL = {"max_length": 32, "train_size": 950, "held_out_size": 40, "shard_words": 100}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sharded draw that was not interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "ruleextrap" / "dyck"
    write_dataset("dyck", folder, **SMALL)  # type: ignore[arg-type]
    return folder


def test_a_sharded_draw_is_one_dataset(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = sorted(path.name for path in (whole / "default").glob("train-*"))
    assert names == [f"train-{i:05}-of-00010.parquet" for i in range(10)]
    monkeypatch.chdir(whole.parents[1])
    data = load_dataset("ruleextrap/dyck")
    assert {split: len(rows) for split, rows in data.items()} == {"train": 950, "validation": 40, "test": 40}
    train = data["train"]["text"][:]
    assert get_language("dyck").contains(train).all()
    assert len(set(train)) > 500, "shards repeat each other"
    held_out = build_splits(get_language("dyck"), max_length=32, train_size=1, held_out_size=40, seed=0).held_out
    assert len(held_out) > 40
    assert not np.isin(fingerprints(WordBatch.from_strings(train)), held_out).any()
    streamed = load_dataset("ruleextrap/dyck", split="train", streaming=True)
    assert [row["text"] for row in streamed] == train


def test_an_interrupted_draw_resumes_and_writes_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from hf_ruleextrap.hub import dataset, parquet\n"
        "write = parquet.write_table\n"
        "def slowly(*args, **kwargs):\n"
        "    write(*args, **kwargs); time.sleep(0.2)\n"
        "parquet.write_table = slowly\n"
        f"dataset.write_dataset('dyck', sys.argv[1], **{SMALL})\n"
    )
    folder = tmp_path / "dyck"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=subprocess.DEVNULL)
    third, deadline = folder / "default" / "train-00002-of-00010.parquet", time.monotonic() + 120
    while not third.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    shards = sorted((folder / "default").glob("train-*.parquet"))
    assert 3 <= len(shards) < 10
    written_at = third.stat().st_mtime_ns
    # An interrupted draw may also leave a part of a file under another name and, on a bad disk, a torn file.
    (folder / "default" / "train-00007-of-00010.part").write_bytes(b"PAR1")
    shards[0].write_bytes(shards[0].read_bytes()[:100])
    write_dataset("dyck", folder, **SMALL)  # type: ignore[arg-type]
    assert contents(folder) == contents(whole)
    assert third.stat().st_mtime_ns == written_at, "a shard that was complete was drawn again"


def test_another_draw_replaces_the_existing_shards(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dyck"
    write_dataset("dyck", folder, **{**SMALL, "seed": 1, "shard_words": 300})  # type: ignore[arg-type]
    write_dataset("dyck", folder, **SMALL)  # type: ignore[arg-type]
    assert contents(folder) == contents(whole)


def test_shards_of_a_draw_that_held_out_other_words_are_replaced(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dyck"
    write_dataset("dyck", folder, **{**SMALL, "held_out_size": 60})  # type: ignore[arg-type]
    write_dataset("dyck", folder, **SMALL)  # type: ignore[arg-type]
    assert contents(folder) == contents(whole)


def test_memory_does_not_grow_with_the_draw(tmp_path: Path) -> None:
    def peak(size: int) -> int:
        tracemalloc.start()
        parquet.write_shards(
            get_language("bban"),
            tmp_path / str(size),
            size=size,
            max_length=64,
            seed=0,
            held_out=np.zeros(0, np.uint64),
            columns=word_columns,
            shard_words=2000,
        )
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak_bytes

    peak(2000)
    assert peak(40_000) < 1.3 * peak(4000)


@pytest.mark.parametrize("what", [("dataset", "anbn", "--max-length", "64", "--train-size", "50"), ("metric",)])
def test_publishing_to_a_full_disk_fails_with_one_line_and_a_repeat_completes_the_work(
    what: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "hf_ruleextrap", "publish", *what, "--to", str(tmp_path)]
    # With this limit, the system refuses a write in the middle of a file.
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1500, 1500))
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    failed = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment, preexec_fn=limit
    )
    assert failed.returncode == 2, failed.stderr
    line = failed.stderr.strip().splitlines()[-1]
    assert line.startswith(f"error: cannot write {tmp_path}")
    assert "(File too large; " in line
    assert "MB are free): free some space, or choose another folder" in line
    assert "Traceback" not in failed.stderr
    assert not list(tmp_path.rglob("*.part"))
    assert main(command[3:]) == 0
