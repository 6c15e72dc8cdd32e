"""The metric's Space: the page that its card names starts, and gives the metric's numbers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hf_ruleextrap import score
from hf_ruleextrap.cli import main
from hf_ruleextrap.hub.metric import GRADIO

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    assert main(["publish", "metric", "--to", str(folder)]) == 0
    return folder / "ruleextrap" / "rule_extrapolation"


def test_the_card_names_the_page_and_the_version_of_gradio(space: Path) -> None:
    metadata = yaml.safe_load((space / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert (metadata["sdk"], metadata["app_file"]) == ("gradio", "app.py")
    assert (space / metadata["app_file"]).exists()
    assert metadata["sdk_version"] == GRADIO
    assert f"gradio=={GRADIO}" in CONSTRAINTS.read_text().split()
    imports = re.findall(r"^(?:import|from) (\w+)", (space / "app.py").read_text(encoding="utf-8"), re.MULTILINE)
    # Gradio comes with the Space.
    assert {"evaluate", "datasets", "numpy"} == set((space / "requirements.txt").read_text().split())
    assert set(imports) <= {"__future__", "pathlib", "typing", "evaluate", "gradio", "rules"}


@pytest.mark.timeout(120)
def test_the_page_starts_and_computes_the_metric(space: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the page needs Gradio (extra demo)")
    from gradio_client import Client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HOME": str(tmp_path),
        # Without the package: the Space is on its own.
        "PYTHONPATH": "",
    }
    with subprocess.Popen([sys.executable, "app.py"], cwd=space, env=environment, stdout=subprocess.DEVNULL) as page:
        try:
            client = _client(Client, f"http://127.0.0.1:{port}")
            rows = {"headers": ["prompt", "completion", "finished"], "data": [["baa", "b", True], ["ba", "bb", False]]}
            rates = client.predict("anbn", rows, api_name="/compute")
            assert rates == score("anbn", ["baa", "ba"], ["b", "bb"], [True, False]).to_dict()
            rows["data"][0][0] = "xyz"
            with pytest.raises(Exception, match="not a symbol"):
                client.predict("anbn", rows, api_name="/compute")
        finally:
            page.kill()


def _client(client_class: type, url: str) -> object:
    deadline = time.monotonic() + 60
    while True:
        try:
            return client_class(url, verbose=False)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
