"""The report as Markdown, LaTeX and a page."""

from __future__ import annotations

import html.parser
import re
from collections import Counter
from pathlib import Path

from report_study import Balance, compile_latex
from studies import results

from hf_ruleextrap import __version__
from hf_ruleextrap.cli import main
from hf_ruleextrap.report import Run, summarize
from hf_ruleextrap.report.statistics import Spread
from hf_ruleextrap.report.tables import Cell, Line, Table, escape_latex, latex, markdown

GOLDEN = Path(__file__).parents[1] / "golden" / "report.md"


class TestForms:
    def test_markdown_is_the_golden_one(self, report: Path) -> None:
        """To renew the golden file, copy the report.md of this test over that file and read the differences."""
        text = (
            (report / "report.md")
            .read_text(encoding="utf-8")
            .replace(f"hf-ruleextrap {__version__}", "hf-ruleextrap VERSION")
        )
        assert text == GOLDEN.read_text(encoding="utf-8")

    def test_markdown_tables_have_as_many_cells_as_headings(self, report: Path) -> None:
        text = (report / "report.md").read_text(encoding="utf-8")
        tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
        # Those of the claims and after learning; corrected and reproduced of anbn, csdyck and bban.
        assert len(tables) == 10
        for lines in tables:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert "no \\| memory" in text

    def test_no_mean_is_without_its_n(self, report: Path) -> None:
        text = (report / "report.md").read_text(encoding="utf-8")
        tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
        for head, _, *lines in tables:
            headings = [cell.strip() for cell in head.strip("|").split("|")]
            for line in lines:
                cells = [cell.strip() for cell in line.strip("|").split("|")]
                for cell in (cell for cell in cells if "±" in cell):
                    column = next((headings.index(name) for name in ("n", "learned") if name in headings), None)
                    counted = column is not None and re.fullmatch(r"\d+( of \d+)?", cells[column])
                    assert counted or re.search(r"\(\d+\)", cell)

    def test_undefined_is_a_dash(self) -> None:
        runs = [results(outside=(0, 0, 0, 0), paper={"id_finished": 0.0})]
        best = next(row for row in summarize([*map(Run.of, runs)]) if row.source == "best_check")
        assert best.values["ood_r1"] == Spread(None, None, 0)

    def test_latex_is_balanced_and_escaped(self, report: Path) -> None:
        text = (report / "report.tex").read_text(encoding="utf-8")
        assert text.isascii()
        plain = re.sub(r"\\[\\&%$#_{}]", "", text)
        assert plain.count("{") == plain.count("}")
        assert text.count("\\begin{") == text.count("\\end{") == 2 * 10
        for columns, body in re.findall(r"\\begin{tabular}{(\w+)}\n(.*?)\\end{tabular}", text, flags=re.DOTALL):
            for line in (line for line in body.splitlines() if line.endswith("\\\\")):
                assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
                assert not re.search(r"(?<!\\)[#%_^~<>|]", line.replace("\\textasciicircum{}", ""))
                assert re.search(r"[^\x00-\x7f]", line) is None

    def test_latex_escapes_everything(self, tmp_path: Path) -> None:
        signs = "".join(map(chr, range(33, 127))) + "±≥↑↓·é漢"
        assert escape_latex("漢") == "?"
        tabular = Table("odd", signs, signs, [signs, "n"], [Line("ours", [Cell(signs), Cell("1")])], 1)
        compile_latex(latex(tabular), tmp_path)
        assert len(re.findall(r"(?<!\\)\|", markdown(tabular).splitlines()[2])) == 3

    def test_latex_compiles(self, report: Path, tmp_path: Path) -> None:
        compile_latex((report / "report.tex").read_text(encoding="utf-8"), tmp_path)

    def test_the_page_is_whole_and_needs_no_other_file(self, report: Path) -> None:
        page = (report / "index.html").read_text(encoding="utf-8")
        assert not re.search(r'(?:src|href)="(?!#)[^"]', page)
        assert "<script" not in page
        assert not re.search(r"url\((?!#)", page)
        # Each figure is there for a desk and for a phone.
        assert page.count("<svg") / 2 == len(list((report / "figures").glob("*.svg"))) == 8
        ids = Counter(re.findall(r'\bid="([^"]+)"', page))
        assert max(ids.values()) == 1
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)
        Balance().feed(page)

    def test_every_form_has_every_number(self, report: Path) -> None:
        """Each cell of the Markdown stands in the page, in order."""
        page = re.sub(r"<small>.*?</small>", "", (report / "index.html").read_text(encoding="utf-8"))
        shown = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", page)]
        text = (report / "report.md").read_text(encoding="utf-8")
        lines = [line for block in text.split("\n\n") if block.startswith("| ") for line in block.splitlines()[2:]]
        cells = [re.sub(r"\\(.)", r"\1", cell.strip()) for line in lines for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert cells == shown

    def test_what_has_no_results_is_named(self, report: Path) -> None:
        text = (report / "index.html").read_text(encoding="utf-8")
        assert "2 runs have no results and are in no number of this report (" in text
        assert "cut: not finished" in text
        assert "anbn-gpt2-seed0-00000000: failed: MemoryError: no | memory" in text

    def test_the_same_store_gives_the_same_bytes(self, store: Path, report: Path, tmp_path: Path) -> None:
        assert main(["report", str(store), "--out", str(tmp_path)]) == 0
        files = sorted(path.relative_to(report) for path in report.rglob("*.*"))
        assert len(files) == 6 + 8 * 3
        for name in files:
            assert (tmp_path / name).read_bytes() == (report / name).read_bytes(), name
