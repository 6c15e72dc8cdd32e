"""Names from data do nothing in the files of a report: no markup in its page, no formula in its tables."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from studies import evaluation

from hf_ruleextrap.report import Row, Study, rates_of, write_report

HOSTILE = [
    '=HYPERLINK("http://evil")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    '"><script>alert(1)</script>',
    "</title><svg onload=alert(1)>",
    "<img src=x onerror=alert(1)>",
]


@pytest.mark.timeout(120)
def test_hostile_names_are_text(tmp_path: Path) -> None:
    rates = rates_of(evaluation("anbn", (20, 20, 20, 20), (13, 14, 15, 16)))
    rows = [Row.over(name, name, "greedy", "corrected", [rates]) for name in HOSTILE]
    rows += [Row.over("anbn", name, "greedy", "corrected", [rates]) for name in HOSTILE]
    write_report(Study([], {HOSTILE[4]: HOSTILE[5]}, rows), tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for markup in ("<script>alert", "<svg onload", "<img src=x", "</title><svg"):
        assert markup not in page
    with (tmp_path / "report.csv").open(encoding="utf-8") as file:
        cells = [cell for line in csv.DictReader(file) for cell in (line["language"], line["model"])]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
