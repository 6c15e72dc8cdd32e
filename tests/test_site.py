"""The documentation site: built without a warning, complete, and without a request to other hosts."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

import hf_ruleextrap
from hf_ruleextrap.cli import build_parser, main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.hub.site import write_site
from hf_ruleextrap.train.recipe import Recipe

pytest.importorskip("furo", reason="the site needs the extra docs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # A broken link, a page that no table of contents names, or a docstring that cannot be parsed is a warning, and a
    # warning ends the build.
    assert main(["publish", "docs", "--to", str(folder)]) == 0
    return folder / "ruleextrap" / "docs"


def text(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_each_page_of_docs_is_a_page_of_the_site(site: Path) -> None:
    docs = Path(__file__).parents[1] / "docs"
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


def test_the_pages_can_be_searched_and_load_nothing_from_elsewhere(site: Path) -> None:
    assert "rational" in (site / "searchindex.js").read_text(encoding="utf-8")
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img)[^>]+src=\"([^\"]+)\"|<link[^>]+href=\"([^\"]+)\"", html)
        assert not [address for pair in loaded for address in pair if address.startswith(("http", "//"))], page


def test_an_error_in_the_pages_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RuleExtrapError, match="run this command in a clone"):
        write_site(tmp_path / "site", source=tmp_path)
    (tmp_path / "conf.py").write_text("extensions = ['myst_parser']\n")
    (tmp_path / "index.md").write_text("# Title\n\n[nowhere](missing.md)\n")
    with pytest.raises(RuleExtrapError, match=r"missing\.md"):
        write_site(tmp_path / "site", source=tmp_path)
    assert not (tmp_path / "site").exists()
