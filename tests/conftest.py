"""Settings that must precede the import of any Hugging Face library, and fixtures that several tests use."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

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
    from textmodel import write_text_model

    return write_text_model(tmp_path_factory.mktemp("text") / "model")
