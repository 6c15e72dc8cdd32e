"""The documentation: the code blocks and commands of its pages, the notebooks, and the site."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from language_models import write_text_model

import hf_ruleextrap
from hf_ruleextrap.cli import build_parser, main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.hub.spaces import write_site
from hf_ruleextrap.train.recipe import Recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    page.name: page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
# Each block of code in docs/rational.md with the block of text or the table that follows.
RATIONAL = (ROOT / "docs" / "rational.md").read_text(encoding="utf-8")
PRINTED = re.findall(r"```python\n((?:(?!```).)*?)```\n\n(?:```text\n(.*?)```|(\|.*?\n)\n)", RATIONAL, flags=re.DOTALL)
BLOCKS = {
    name: blocks
    for name, page in PAGES.items()
    if (blocks := re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
}


@pytest.mark.parametrize("page", BLOCKS)
def test_the_python_blocks_of_a_page_run_in_order(
    page: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_run, tmp_path / "runs" / "quickstart")
    monkeypatch.chdir(tmp_path)
    # A block may use the names of the blocks before it.
    names: dict[str, object] = {}
    for number, block in enumerate(BLOCKS[page]):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
        assert capsys.readouterr().out, f"{page}, block {number}, prints nothing"


def test_the_readme_has_python_blocks() -> None:
    assert len(BLOCKS["README.md"]) >= 2


def test_the_commands_name_files_and_flags_that_exist() -> None:
    from hf_ruleextrap.train.recipe import Recipe

    for path in re.findall(r"(?:training|docs|hf_ruleextrap)/[\w/.-]*\w", README):
        assert (ROOT / path).exists(), path
    for flag in re.findall(r"--([a-z]+_[a-z_]+)", README):
        assert flag in Recipe.model_fields, flag


def test_all_results_of_the_page_on_rational_learners_are_found() -> None:
    assert len(PRINTED) == 4
    assert sum(table.count("\n| `") for _, _, table in PRINTED) == 6


@pytest.mark.parametrize("number", range(4))
def test_the_page_on_rational_learners_shows_the_output_of_its_code(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, table = PRINTED[number]
    exec(compile(code, f"block {number}", "exec"), {})
    assert capsys.readouterr().out == (text or table)


# Notebooks.


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


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


# The site.


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("furo", reason="the site needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    # A broken link, a page that no table of contents names, or a docstring that cannot be parsed is a warning, and a
    # warning ends the build.
    assert main(["publish", "docs", "--to", str(folder)]) == 0
    return folder / "ruleextrap" / "docs"


def text(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_each_page_of_docs_is_a_page_of_the_site(site: Path) -> None:
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        assert (site / page.relative_to(docs)).with_suffix(".html").is_file(), page
    assert "sdk: static" in (site / "README.md").read_text(encoding="utf-8")


def test_the_reference_holds_each_key_command_and_name(site: Path) -> None:
    recipe = text(site / "reference" / "recipe.html")
    assert [name for name in Recipe.model_fields if name not in recipe] == []
    commands = text(site / "reference" / "commands.html")
    names_of_commands = re.findall(r"^    ([\w-]+)\b", build_parser().format_help(), flags=re.MULTILINE)
    assert {"check", "sweep", "train"} <= set(names_of_commands)
    assert [name for name in names_of_commands if f"hf-ruleextrap {name}" not in commands and name != "train"] == []
    names = text(site / "reference" / "python.html")
    assert [name for name in hf_ruleextrap.__all__ if name not in names] == []


def test_the_sidebar_names_the_kinds_of_pages_and_the_tasks(site: Path) -> None:
    sidebar = text(site / "index.html")
    for caption in ("Tutorial", "How to", "Reference", "Explanation", "Results"):
        assert caption in sidebar
    for task in ("Make your own language", "or your own", "Use your own Trainer", "any language model", "on a cluster"):
        assert task in sidebar


def test_the_pages_can_be_searched_and_load_no_file_from_other_hosts(site: Path) -> None:
    assert "rational" in (site / "searchindex.js").read_text(encoding="utf-8")
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img)[^>]+src=\"([^\"]+)\"|<link[^>]+href=\"([^\"]+)\"", html)
        assert not [address for pair in loaded for address in pair if address.startswith(("http", "//"))], page


def test_an_error_in_the_pages_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason="the site needs the extra docs")
    with pytest.raises(RuleExtrapError, match="run this command in a clone"):
        write_site(tmp_path / "site", source=tmp_path)
    (tmp_path / "conf.py").write_text("extensions = ['myst_parser']\n")
    (tmp_path / "index.md").write_text("# Title\n\n[nowhere](missing.md)\n")
    with pytest.raises(RuleExtrapError, match=r"missing\.md"):
        write_site(tmp_path / "site", source=tmp_path)
    assert not (tmp_path / "site").exists()
