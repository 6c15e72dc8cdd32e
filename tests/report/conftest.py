"""The small study's store and report."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_study import write_study

from hf_ruleextrap.cli import main

T95 = {2: 12.7062, 3: 4.3027, 4: 3.1824}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def report(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert main(["report", str(store), "--out", str(folder)]) == 0
    return folder
