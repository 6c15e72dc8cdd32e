"""The estimate counts the runs of a grid and measures a step of each shape once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_ruleextrap.cli import main


def test_an_estimate_measures_each_shape_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "grid.yaml").write_text(
        "axes: {seed: [0, 1], learning_rate: [0.1, 0.2], architecture: [lstm, linear], max_length: [12],\n"
        "  train_size: [16], batch_size: [8], held_out_size: [8], max_steps: [30000], patience: [2]}"
    )
    assert main(["estimate", str(tmp_path / "grid.yaml"), "--json"]) == 0
    estimate = json.loads(capsys.readouterr().out)
    assert estimate["runs"] == 8
    assert {shape["architecture"]: shape["runs"] for shape in estimate["shapes"]} == {"lstm": 4, "linear": 4}
    for shape in estimate["shapes"]:
        assert 0 < 4 * 30000 * shape["step_seconds"] < shape["seconds"]
    assert estimate["core_hours"] == pytest.approx(sum(shape["seconds"] for shape in estimate["shapes"]) / 3600)
    assert not (tmp_path / "runs").exists()
