"""The notebooks run from their first cell to their last, in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.textmodel import write_text_model

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("RULEEXTRAP_MODEL", str(write_text_model(tmp_path / "model")))
    monkeypatch.setenv("RULEEXTRAP_STEPS", "20")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [
        "".join(output.get("text", "")) + str(output.get("data", ""))
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    # A shell command that fails prints a line, and raises no error in the notebook.
    assert not [text for text in texts if "error:" in text or "Traceback" in text]
    assert any("headline" in text for text in texts)


def test_three_notebooks_exist() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["evaluate_any_llm", "own_language", "train_and_see"]
