"""The numbers in docs/rational.md are those that its code computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "rational.md").read_text(encoding="utf-8")
# A block of code, and what stands behind it: a block of text, or a table.
SHOWN = re.findall(r"```python\n((?:(?!```).)*?)```\n\n(?:```text\n(.*?)```|(\|.*?\n)\n)", PAGE, flags=re.DOTALL)


def test_all_results_are_found() -> None:
    assert len(SHOWN) == 4
    assert sum(table.count("\n| `") for _, _, table in SHOWN) == 6


@pytest.mark.parametrize("number", range(4))
def test_what_the_page_shows_is_what_its_code_prints(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, table = SHOWN[number]
    exec(compile(code, f"block {number}", "exec"), {})
    assert capsys.readouterr().out == (text or table)
