"""A stranger's run folder for each test, in a working directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from security.strangers import Stranger

from hf_ruleextrap import languages


@pytest.fixture
def stranger(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    # What another test has allowed is not allowed here.
    monkeypatch.setattr(languages, "_LOADED", {}, raising=False)
    monkeypatch.chdir(tmp_path)
    return Stranger(tmp_path, tiny_run)
