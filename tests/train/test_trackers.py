"""Trackers, offline: what they hold is what the log holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import TINY

from hf_ruleextrap.cli import main
from hf_ruleextrap.train import trackers

Curve = dict[str, list[float]]


def tensorboard_curves(folder: Path) -> Curve:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = folder.glob("runs/*/events*")
    found = EventAccumulator(str(events.parent))
    found.Reload()
    return {tag: [event.value for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def trackio_curves(folder: Path) -> Curve:
    import trackio.utils

    with sqlite3.connect(trackio.utils.TRACKIO_DIR / f"{trackers.PROJECT}.db") as file:
        rows = file.execute("select metrics from metrics where run_name = ? order by step", [folder.name]).fetchall()
    curves: Curve = {}
    for name, value in (item for (row,) in rows for item in json.loads(row).items()):
        curves.setdefault(name, []).append(value)
    return curves


def logged_curves(folder: Path) -> Curve:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    names = dict.fromkeys(name for line in lines for name in line if name.startswith("eval_"))
    return {name.replace("eval_", "eval/", 1): [line[name] for line in lines if name in line] for name in names}


@pytest.mark.parametrize(("tracker", "read"), [("tensorboard", tensorboard_curves), ("trackio", trackio_curves)])
def test_a_tracker_is_told_what_the_log_holds(
    tracker: str, read: Callable[[Path], Curve], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(tracker, reason=f"{tracker} is not installed: pip install 'hf-ruleextrap[{tracker}]'")
    folder = tmp_path / f"run-{tracker}"
    flags = [f"--{key}={value}" for key, value in {**TINY, "output_dir": folder, "report-to": tracker}.items()]
    assert main(["train", *flags, "--json"]) == 0
    # Whatever a tracker prints, it is not in the way of the results.
    assert json.loads(capsys.readouterr().out)["training"]["steps"] == TINY["max_steps"]
    logged, told = logged_curves(folder), read(folder)
    assert {"eval/loss", "eval/id_r1", "eval/ood_r1", "eval/ood_headline"} <= logged.keys() <= told.keys()
    for name, values in logged.items():
        assert len(values) == 2
        assert told[name] == pytest.approx(values, rel=1e-6), name


def test_a_tracker_that_is_not_installed_is_named_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"axes": {"report_to": ["trackio"]}}))
    commands: list[list[Any]] = [
        ["train", "--report_to", "trackio", "--output_dir", tmp_path / "out"],
        ["sweep", tmp_path / "grid.yaml", "--out", tmp_path / "out"],
    ]
    for command in commands:
        assert main([str(word) for word in command]) == 2
        line = capsys.readouterr().err
        assert line.endswith("report_to is trackio, which is not installed: pip install 'hf-ruleextrap[trackio]'\n")
        assert line.count("\n") == 1
    assert not (tmp_path / "out").exists()
