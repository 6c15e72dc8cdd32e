"""The short form of the soak, with each kind of kill once. The options of `soak.py` set larger numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = {"train", "publish", "overwrite", "parent", "worker", "server", "two sweeps"}


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the soak reads /proc and forks")
@pytest.mark.timeout(600)
def test_killed_commands_end_with_the_same_bytes(tmp_path: Path) -> None:
    soak, out = Path(__file__).with_name("soak.py"), tmp_path / "figures.json"
    command = [sys.executable, str(soak), "--each", "--seconds=0", f"--out={out}"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    figures = json.loads(process.stdout)
    assert figures["faults"] == [], "\n".join(figures["faults"])
    assert process.returncode == 0
    assert set(figures["ends"]) == KINDS
    assert sum(figures["kills"].values()) >= len(KINDS) - 2
