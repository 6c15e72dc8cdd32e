"""The commands and code blocks of the README and of the pages in docs/."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from hf_ruleextrap.languages import get_language, list_languages

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


def test_the_table_of_languages_states_their_levels_and_rules() -> None:
    rows = {cells[0].strip(" `"): cells for line in README.splitlines() if len(cells := line.split("|")[1:-1]) == 5}
    for name in list_languages(tag="paper"):
        language = get_language(name)
        _, _, level, first, second = (cell.strip() for cell in rows[name])
        assert level == language.level
        assert [first, second] == [rule.summary for rule in language.rules[:2]]


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
