"""Names from data do nothing in the files of a report: no markup in its page, no formula in its tables."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
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


class Page(HTMLParser):
    """The elements of a page with the names of their attributes, and the labels for screen readers."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.elements: set[tuple[str, ...]] = set()
        self.labels: list[str] = []
        self.feed((folder / "index.html").read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add((tag, *(name for name, _ in attributes)))
        self.labels += [value or "" for name, value in attributes if name == "aria-label"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("language", [HOSTILE[4], '" onload="alert(1)'])
def test_a_hostile_name_adds_no_element_and_no_attribute_to_the_page(language: str, tmp_path: Path) -> None:
    rates = rates_of(evaluation("anbn", (20, 20, 20, 20), (13, 14, 15, 16)))
    pages = []
    for number, name in enumerate(["harmless", language]):
        rows = [Row.over(name, model, "greedy", "corrected", [rates]) for model in ("one", name)]
        write_report(Study([], {}, rows), tmp_path / str(number))
        pages.append(Page(tmp_path / str(number)))
    harmless, hostile = pages
    assert hostile.elements == harmless.elements
    assert [label.replace("harmless", language) for label in harmless.labels] == hostile.labels
    assert hostile.labels


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
