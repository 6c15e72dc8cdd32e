"""Every wrong invocation of ``mistakes.jsonl`` is one line and exit code 2, within ten seconds of CPU time."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broken_files import write_broken_files

from hf_ruleextrap.cli import main

ROOT = Path(__file__).parents[1]
MISTAKES = [json.loads(line) for line in (ROOT / "tests/mistakes.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    write_broken_files(folder, tiny_run)
    return folder


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def expire(*_: object) -> None:
        raise AssertionError(f"still running after {seconds} s")

    # Of this process's own time: a busy machine makes no command slow.
    before = signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_the_table_is_long_and_each_line_says_what_is_wrong() -> None:
    assert len(MISTAKES) >= 500
    assert all(row.keys() == {"command", "wrong"} and row["wrong"] for row in MISTAKES)
    assert len({json.dumps(row["command"]) for row in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize("row", MISTAKES, ids=lambda row: f"{' '.join(row['command'])[:60]!r}"[1:-1])
def test_a_mistake_is_one_line(
    row: dict, broken: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cwd").mkdir()
    places = {"{tmp}/cwd": str(tmp_path / "cwd"), "{tmp}": str(broken), "{repository}": str(ROOT), "{long}": "x" * 300}
    words = []
    for word in row["command"]:
        for name, value in places.items():
            word = word.replace(name, value)
        words.append(word)
    with at_most(10):
        try:
            code = main(words)
        except SystemExit as leave:
            code = leave.code
    captured = capsys.readouterr()
    assert code == 2, captured.err
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
