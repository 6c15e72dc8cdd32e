"""The numbers of the report are those of the runs, in Markdown, LaTeX and a page."""

from __future__ import annotations

import csv
import html.parser
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from report_study import AUTHORS_WAY, Balance, check, compile_latex, numbers, study_runs
from studies import PROMPTS, REFERENCES, evaluation, results, write_store
from tiny import TINY

from hf_ruleextrap import __version__
from hf_ruleextrap.cli import main
from hf_ruleextrap.evaluation.rational_references import RATIONAL
from hf_ruleextrap.report import Row, Run, Study, rates_of, read_study, summarize, write_report
from hf_ruleextrap.report.rows import PAPER, all_rows, in_chomsky_order
from hf_ruleextrap.report.statistics import Spread
from hf_ruleextrap.report.tables import Cell, Line, Table, escape_latex, latex, markdown
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe


class TestNumbers:
    """Each from the store's JSON."""

    def of(self, store: Path, *, paper: bool, language: str = "anbn", architecture: str = "lstm") -> list[dict]:  # type: ignore[type-arg]  # JSON
        found = [json.loads(path.read_text()) for path in sorted(store.glob("*/results.json"))]
        key = (language, architecture, paper)
        return [r for r in found if (r["recipe"]["language"], r["recipe"]["architecture"], r["recipe"]["paper"]) == key]

    def test_corrected_are_over_all_prompts(self, store: Path, report: Path) -> None:
        runs = [run for run in self.of(store, paper=False) if run["training"]["learned"]]
        assert len(runs) == 2
        found = numbers(report, language="anbn", model="lstm", way="corrected", state="")
        inside, outside = ([r["best"]["conditions"][place]["greedy"]["report"] for r in runs] for place in (0, 1))
        rules = "as_equal_bs", "as_before_bs"
        assert set(inside[0]["rules"]) == set(rules)
        expected = {
            "id_r1": [r["rules"][rules[0]]["word"]["all"] for r in inside],
            "id_r2": [r["rules"][rules[1]]["word"]["all"] for r in inside],
            "id_finished": [r["finished"] for r in inside],
            "ood_headline": [r["headline"] for r in outside],
            "ood_r1": [r["rules"][rules[0]]["word"]["all"] for r in outside],
            "ood_r2_completion": [r["rules"][rules[1]]["completion"]["all"] for r in outside],
            "ood_finished": [r["finished"] for r in outside],
        }
        assert set(found) == {*expected, "test_loss", "excess"}
        for column, rates in expected.items():
            check(found[column], [r["hits"] / r["n"] for r in rates])
        check(found["test_loss"], [r["test_without_padding"]["loss"] for r in runs], rate=False)

    def test_reproduced_are_in_the_authors_way(self, store: Path, report: Path) -> None:
        runs = self.of(store, paper=True)
        names = {
            "id_r1": "id_rule_1_accuracy",
            "id_r2": "id_rule_2_accuracy",
            "id_finished": "id_finished",
            "ood_r1": "ood_rule_1_accuracy",
            "ood_r2_completion": "ood_rule_2_completion_accuracy",
            "ood_finished": "ood_finished",
        }
        for source, key in (("best_check", "best_check"), ("minimum_loss", "minimum_loss")):
            found = numbers(report, language="anbn", model="lstm", source=source)
            for column, name in names.items():
                # Where nothing finished there is no rate, and n says so.
                check(found[column], [r["paper"][key][name] for r in runs if name in r["paper"][key]])
            # The authors call the smallest validation loss of a run its test loss.
            check(found["test_loss"], [r["validation"]["loss"] for r in runs], rate=False)
        assert numbers(report, language="anbn", model="lstm", source="best_check")["ood_r1"]["n"] == "1"

    def test_references_are_those_of_the_runs(self, store: Path, report: Path) -> None:
        runs = self.of(store, paper=False) + self.of(store, paper=False, architecture="transformer")
        assert len(runs) == 4
        for source in ("uniform", "always-stop", "3-gram", "ceiling"):
            found = numbers(report, language="anbn", source=source, way="corrected")
            reports = [r["references"][r["best"]["conditions"][1]["references"]][source] for r in runs]
            check(found["ood_headline"], [r["headline"]["rate"] for r in reports])
            check(found["ood_headline"], [REFERENCES[source][0] / PROMPTS] * 4)
            check(found["ood_r1"], [r["rules"]["as_equal_bs"]["word"]["all"]["rate"] for r in reports])
        floor = numbers(report, language="anbn", source="floor", way="corrected")
        assert set(floor) == {"test_loss"}
        check(floor["test_loss"], [r["test_without_padding"]["floor"] for r in runs], rate=False)
        among = numbers(report, language="anbn", source="uniform", way="reproduced")["ood_r1"]
        outside = [(r, r["best"]["conditions"][1]) for r in self.of(store, paper=True)]
        paper = [r["references"][condition["references"]]["uniform"] for r, condition in outside]
        check(among, [r["rules"]["as_equal_bs"]["word"]["finished"]["rate"] for r in paper])
        padded = numbers(report, language="anbn", source="floor", way="reproduced")["test_loss"]
        check(padded, [r["validation"]["floor"] for r in self.of(store, paper=True)], rate=False)

    def test_the_authors_numbers_are_the_paper_s(self, report: Path) -> None:
        line = numbers(report, language="anbn", model="lstm", source="authors")["ood_r1"]
        # Table of L3 at arXiv 2409.13728: OOD R1 of the LSTM over eight seeds.
        assert (line["mean"], line["std"], line["n"]) == ("0.376", "0.2089", "8")

    def test_the_ways_are_never_mixed(self, report: Path) -> None:
        with (report / "report.csv").open(encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        corrected, reproduced = (
            {line["source"] for line in lines if line["way"] == way} for way in ("corrected", "reproduced")
        )
        assert corrected == {"ours", "uniform", "always-stop", "3-gram", *RATIONAL, "ceiling", "floor"}
        assert reproduced == {"best_check", "minimum_loss", "authors", "uniform", "floor"}

    def test_every_run_has_a_line_with_its_own_numbers(self, store: Path, report: Path) -> None:
        with (report / "runs.csv").open(encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        assert len(lines) == len(study_runs())
        assert len({line["run"] for line in lines}) == len(lines)
        for line, path in zip(lines, sorted(store.glob("*/results.json")), strict=True):
            found = json.loads(path.read_text())
            headline = found["best"]["conditions"][1]["greedy"]["report"]["headline"]
            shown = [
                float(line[key]) for key in ("ood_headline", "ood_headline_low", "ood_headline_high", "ood_headline_n")
            ]
            assert shown == pytest.approx([headline[key] for key in ("rate", "low", "high", "n")])
            assert float(line["test_loss"]) == pytest.approx(found["test_without_padding"]["loss"], nan_ok=True)


class TestRows:
    def test_languages_stand_in_chomsky_order_and_strangers_last(self) -> None:
        names = ["csdyck", "anbn", "gone", "bban", "ban", "anbncn"]
        assert in_chomsky_order(names) == ["ban", "bban", "anbn", "anbncn", "csdyck", "gone"]

    def test_variants_are_called_by_what_differs(self) -> None:
        runs = [results(seed=s, learning_rate=lr, output_dir=f"{s}{lr}") for s in (0, 1) for lr in (0.1, 0.01)]
        ours = [row for row in summarize([*map(Run.of, runs)]) if row.source == "ours"]
        assert [(row.label, row.n) for row in ours] == [
            ("lstm (learning_rate 0.1)", 2),
            ("lstm (learning_rate 0.01)", 2),
        ]

    def test_another_source_stands_in_every_form(self, tmp_path: Path) -> None:
        found = rates_of(evaluation("anbn", (20, 20, 20, 20), (13, 14, 15, 16)))
        other = Row.over("anbn", "Some_LLM & co", "greedy, 32 examples", "corrected", [found])
        study = Study([Run.of(results())], rows=[other])
        ours, theirs, *rest = (row for row in all_rows(study.runs, study.rows) if row.way == "corrected")
        assert (ours.name, theirs) == ("lstm", other)
        assert all(not row.name for row in rest)
        write_report(study, tmp_path / "out")
        read = {path.suffix: path.read_text() for path in (tmp_path / "out").glob("*.[!p]*")}
        assert "| Some\\_LLM & co | 1 | - | - | 1.00 |" in read[".md"]
        assert "Some\\_LLM \\& co & 1 & - & - & 1.00" in read[".tex"]
        assert "Some_LLM &amp; co" in read[".html"]
        line = numbers(tmp_path / "out", model="Some_LLM & co")["ood_headline"]
        assert (line["mean"], line["n"], line["source"]) == ("0.65", "1", "greedy, 32 examples")
        # One that knows no more than its rate, and no run of ours beside them.
        bare = Row.over("anbn", "bare", "greedy", "corrected", [{"ood_headline": 0.31}])
        write_report(Study([], rows=[other, bare]), tmp_path / "alone")
        assert "| bare | 1 | - | - | - | 0.31 |" in (tmp_path / "alone" / "report.md").read_text()


def test_several_stores_make_one_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_store(tmp_path / "a", [results()])
    b = write_store(tmp_path / "b", [results(seed=1), results(paper=AUTHORS_WAY)])
    assert main(["report", str(a), str(b), "--out", str(tmp_path / "out")]) == 0
    assert "3 runs in" in capsys.readouterr().out
    assert numbers(tmp_path / "out", language="anbn", source="ours")["ood_headline"]["n"] == "2"


def test_a_language_that_is_gone_is_still_shown(tmp_path: Path) -> None:
    run = Run.of(results())
    # Whatever a file of one's own is called.
    name = "my_files/50% $of$ {them}.py:A_B"
    gone = run.model_copy(update={"recipe": run.recipe.model_copy(update={"language": name})})
    write_report(Study([gone]), tmp_path / "out")
    assert "its code has not run" in (tmp_path / "out" / "report.md").read_text()
    compile_latex((tmp_path / "out" / "report.tex").read_text(encoding="utf-8"), tmp_path)


def test_what_a_run_leaves_behind_is_what_a_report_reads(tmp_path: Path) -> None:
    keys = {**TINY, "mass_length": 3, "by_length": [4], "output_dir": str(tmp_path / "store" / "cell")}
    made = run_recipe(Recipe.of(keys, "test"))
    study = read_study([tmp_path / "store"])
    assert study.runs[0].rates == rates_of(made.chosen)
    write_report(study, tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {
        "rates", "dynamics", "length_id",
    }  # fmt: skip


def test_the_paper_s_numbers_all_have_their_n() -> None:
    cells = [cell for language in PAPER["results"].values() for row in language.values() for cell in row.values()]
    assert len(cells) == 6 * 5 * 5
    assert all(set(cell) == {"mean", "std", "n"} and cell["n"] > 1 for cell in cells)


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
        assert page.count("<svg") / 2 == len(list((report / "figures").glob("*.svg"))) == 9
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
        assert "2 runs have no results (" in text
        assert "cut: not finished" in text
        assert "anbn-gpt2-seed0-00000000: failed: MemoryError: no | memory" in text
