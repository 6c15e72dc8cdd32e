"""Settings that must precede the import of any Hugging Face library, and fixtures that several tests use."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from security.strangers import Stranger

os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-ruleextrap-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of twenty steps."""
    from tiny import TINY

    from hf_ruleextrap.train.recipe import Recipe
    from hf_ruleextrap.train.run import run_recipe

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    run_recipe(Recipe.of({**TINY, "output_dir": str(folder)}, "test"))
    return folder


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small language model of text."""
    from language_models import write_text_model

    return write_text_model(tmp_path_factory.mktemp("text") / "model")


@pytest.fixture
def stranger(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    """Return the run folder of a stranger, in a working directory of its own."""
    from hf_ruleextrap import languages

    # A language file that another test has allowed is not allowed in this test.
    monkeypatch.setattr(languages, "LOADED_CLASSES", {})
    monkeypatch.chdir(tmp_path)
    return Stranger(tmp_path, tiny_run)
