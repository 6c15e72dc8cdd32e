"""The numbers of a report agree with the runs in Markdown, LaTeX and the page."""

from __future__ import annotations

import csv
import html.parser
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from studies import (
    AUTHORS_WAY,
    PROMPTS,
    REFERENCES,
    Balance,
    check,
    compile_latex,
    evaluation,
    numbers,
    results,
    study_runs,
    write_store,
)
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
    """Each number is computed from the JSON files of the store."""

    def runs_of(self, store: Path, *, paper: bool, language: str = "anbn", architecture: str = "lstm") -> list[dict]:  # type: ignore[type-arg]  # JSON
        all_results = [json.loads(path.read_text()) for path in sorted(store.glob("*/results.json"))]
        key = (language, architecture, paper)
        return [
            r
            for r in all_results
            if (r["recipe"]["language"], r["recipe"]["architecture"], r["recipe"]["paper"]) == key
        ]

    def test_corrected_rates_are_over_all_prompts(self, store: Path, report: Path) -> None:
        runs = [run for run in self.runs_of(store, paper=False) if run["training"]["learned"]]
        assert len(runs) == 2
        lines = numbers(report, language="anbn", model="lstm", way="corrected", state="")
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
        assert set(lines) == {*expected, "test_loss", "excess"}
        for column, rates in expected.items():
            check(lines[column], [r["hits"] / r["n"] for r in rates])
        check(lines["test_loss"], [r["test_without_padding"]["loss"] for r in runs], rate=False)

    def test_reproduced_rates_are_computed_as_by_the_authors(self, store: Path, report: Path) -> None:
        runs = self.runs_of(store, paper=True)
        names = {
            "id_r1": "id_rule_1_accuracy",
            "id_r2": "id_rule_2_accuracy",
            "id_finished": "id_finished",
            "ood_r1": "ood_rule_1_accuracy",
            "ood_r2_completion": "ood_rule_2_completion_accuracy",
            "ood_finished": "ood_finished",
        }
        for source, key in (("best_check", "best_check"), ("minimum_loss", "minimum_loss")):
            lines = numbers(report, language="anbn", model="lstm", source=source)
            for column, name in names.items():
                # A run without finished completions has no rate, and does not count in n.
                check(lines[column], [r["paper"][key][name] for r in runs if name in r["paper"][key]])
            # The authors call the smallest validation loss of a run its test loss.
            check(lines["test_loss"], [r["validation"]["loss"] for r in runs], rate=False)
        assert numbers(report, language="anbn", model="lstm", source="best_check")["ood_r1"]["n"] == "1"

    def test_references_are_those_of_the_runs(self, store: Path, report: Path) -> None:
        runs = self.runs_of(store, paper=False) + self.runs_of(store, paper=False, architecture="transformer")
        assert len(runs) == 4
        for source in ("uniform", "always-stop", "3-gram", "ceiling"):
            lines = numbers(report, language="anbn", source=source, way="corrected")
            reports = [r["references"][r["best"]["conditions"][1]["references"]][source] for r in runs]
            check(lines["ood_headline"], [r["headline"]["rate"] for r in reports])
            check(lines["ood_headline"], [REFERENCES[source][0] / PROMPTS] * 4)
            check(lines["ood_r1"], [r["rules"]["as_equal_bs"]["word"]["all"]["rate"] for r in reports])
        floor = numbers(report, language="anbn", source="floor", way="corrected")
        assert set(floor) == {"test_loss"}
        check(floor["test_loss"], [r["test_without_padding"]["floor"] for r in runs], rate=False)
        finished_r1 = numbers(report, language="anbn", source="uniform", way="reproduced")["ood_r1"]
        outside = [(r, r["best"]["conditions"][1]) for r in self.runs_of(store, paper=True)]
        paper = [r["references"][condition["references"]]["uniform"] for r, condition in outside]
        check(finished_r1, [r["rules"]["as_equal_bs"]["word"]["finished"]["rate"] for r in paper])
        padded = numbers(report, language="anbn", source="floor", way="reproduced")["test_loss"]
        check(padded, [r["validation"]["floor"] for r in self.runs_of(store, paper=True)], rate=False)

    def test_the_numbers_of_the_authors_are_those_of_the_paper(self, report: Path) -> None:
        line = numbers(report, language="anbn", model="lstm", source="authors")["ood_r1"]
        # Table of L3 at arXiv 2409.13728: OOD R1 of the LSTM over eight seeds.
        assert (line["mean"], line["std"], line["n"]) == ("0.376", "0.2089", "8")

    def test_corrected_and_reproduced_rates_are_never_mixed(self, report: Path) -> None:
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
            run_results = json.loads(path.read_text())
            headline = run_results["best"]["conditions"][1]["greedy"]["report"]["headline"]
            shown = [
                float(line[key]) for key in ("ood_headline", "ood_headline_low", "ood_headline_high", "ood_headline_n")
            ]
            assert shown == pytest.approx([headline[key] for key in ("rate", "low", "high", "n")], rel=1e-5)
            loss = run_results["test_without_padding"]["loss"]
            assert float(line["test_loss"]) == pytest.approx(loss, rel=1e-5, nan_ok=True)
            # The Parquet file has the other digits.
            digits = [value.replace(".", "").strip("0") for value in line.values() if re.fullmatch(r"\d+\.\d+", value)]
            assert max(map(len, digits)) <= 6


class TestRows:
    def test_languages_stand_in_chomsky_order_and_unknown_ones_last(self) -> None:
        names = ["csdyck", "anbn", "gone", "bban", "ban", "anbncn"]
        assert in_chomsky_order(names) == ["ban", "bban", "anbn", "anbncn", "csdyck", "gone"]

    def test_variants_are_labelled_by_their_differences(self) -> None:
        runs = [results(seed=s, learning_rate=lr, output_dir=f"{s}{lr}") for s in (0, 1) for lr in (0.1, 0.01)]
        ours = [row for row in summarize([*map(Run.of, runs)]) if row.source == "ours"]
        assert [(row.label, row.n) for row in ours] == [
            ("lstm (learning_rate 0.1)", 2),
            ("lstm (learning_rate 0.01)", 2),
        ]

    def test_rows_of_another_source_appear_in_every_format(self, tmp_path: Path) -> None:
        rates = rates_of(evaluation("anbn", (20, 20, 20, 20), (13, 14, 15, 16)))
        other = Row.over("anbn", "Some_LLM & co", "greedy, 32 examples", "corrected", [rates])
        study = Study([Run.of(results())], rows=[other])
        own_row, other_row, *rest = (row for row in all_rows(study.runs, study.rows) if row.way == "corrected")
        assert (own_row.name, other_row) == ("lstm", other)
        assert all(not row.name for row in rest)
        write_report(study, tmp_path / "out")
        texts = {path.suffix: path.read_text() for path in (tmp_path / "out").glob("*.[!p]*")}
        assert "| Some\\_LLM & co | 1 | - | - | 1.00 |" in texts[".md"]
        assert "Some\\_LLM \\& co & 1 & - & - & 1.00" in texts[".tex"]
        assert "Some_LLM &amp; co" in texts[".html"]
        line = numbers(tmp_path / "out", model="Some_LLM & co")["ood_headline"]
        assert (line["mean"], line["n"], line["source"]) == ("0.65", "1", "greedy, 32 examples")
        # A row with the headline alone, in a report without runs.
        bare = Row.over("anbn", "bare", "greedy", "corrected", [{"ood_headline": 0.31}])
        write_report(Study([], rows=[other, bare]), tmp_path / "alone")
        assert "| bare | 1 | - | - | - | 0.31 |" in (tmp_path / "alone" / "report.md").read_text()


def test_several_stores_make_one_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_store(tmp_path / "a", [results()])
    b = write_store(tmp_path / "b", [results(seed=1), results(paper=AUTHORS_WAY)])
    assert main(["report", str(a), str(b), "--out", str(tmp_path / "out")]) == 0
    assert "3 runs in" in capsys.readouterr().out
    assert numbers(tmp_path / "out", language="anbn", source="ours")["ood_headline"]["n"] == "2"


def test_a_run_of_a_missing_language_is_shown(tmp_path: Path) -> None:
    run = Run.of(results())
    # The name of a user's file may contain any characters.
    name = "my_files/50% $of$ {them}.py:A_B"
    changed_run = run.model_copy(update={"recipe": run.recipe.model_copy(update={"language": name})})
    write_report(Study([changed_run]), tmp_path / "out")
    assert "its code has not run" in (tmp_path / "out" / "report.md").read_text()
    compile_latex((tmp_path / "out" / "report.tex").read_text(encoding="utf-8"), tmp_path)


def test_a_report_reads_the_files_of_a_run(tmp_path: Path) -> None:
    keys = {**TINY, "mass_length": 3, "by_length": [4], "output_dir": str(tmp_path / "store" / "cell")}
    run_results = run_recipe(Recipe.of(keys, "test"))
    study = read_study([tmp_path / "store"])
    assert study.runs[0].rates == rates_of(run_results.chosen)
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
    def test_the_markdown_report_is_the_golden_file(self, report: Path) -> None:
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
        # The tables of the claims and of the time after learning, and those of anbn, csdyck and bban.
        assert len(tables) == 10
        for lines in tables:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert "no \\| memory" in text

    def test_no_explanation_is_repeated(self, report: Path) -> None:
        text = (report / "report.md").read_text(encoding="utf-8")
        page = (report / "index.html").read_text(encoding="utf-8")
        for paragraphs in (text.split("\n\n"), re.findall(r"<p[^>]*>(.*?)</p>", page)):
            long = [paragraph for paragraph in paragraphs if len(paragraph) > 80 and not paragraph.startswith("|")]
            assert len(long) > 9
            assert Counter(long).most_common(1)[0][1] == 1
        assert page.count("In small: the 95 % interval") == 1

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

    def test_an_undefined_rate_has_neither_mean_nor_count(self) -> None:
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

    def test_latex_escapes_every_character(self, tmp_path: Path) -> None:
        signs = "".join(map(chr, range(33, 127))) + "±≥↑↓·é漢"
        assert escape_latex("漢") == "?"
        tabular = Table("odd", signs, signs, [signs, "n"], [Line("ours", [Cell(signs), Cell("1")])], 1)
        compile_latex(latex(tabular), tmp_path)
        assert len(re.findall(r"(?<!\\)\|", markdown(tabular).splitlines()[2])) == 3

    def test_latex_compiles(self, report: Path, tmp_path: Path) -> None:
        compile_latex((report / "report.tex").read_text(encoding="utf-8"), tmp_path)

    def test_the_page_is_complete_and_loads_no_other_file(self, report: Path) -> None:
        page = (report / "index.html").read_text(encoding="utf-8")
        assert not re.search(r'(?:src|href)="(?!#)[^"]', page)
        assert "<script" not in page
        assert not re.search(r"url\((?!#)", page)
        # The page has each figure for a wide and for a narrow screen.
        assert page.count("<svg") / 2 == len(list((report / "figures").glob("*.svg"))) == 9
        ids = Counter(re.findall(r'\bid="([^"]+)"', page))
        assert max(ids.values()) == 1
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)
        Balance().feed(page)

    def test_the_page_has_every_number_of_the_markdown_report(self, report: Path) -> None:
        """Each cell of the Markdown report is in the page, in the same order."""
        page = re.sub(r"<small>.*?</small>", "", (report / "index.html").read_text(encoding="utf-8"))
        shown = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", page)]
        text = (report / "report.md").read_text(encoding="utf-8")
        lines = [line for block in text.split("\n\n") if block.startswith("| ") for line in block.splitlines()[2:]]
        cells = [re.sub(r"\\(.)", r"\1", cell.strip()) for line in lines for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert cells == shown

    def test_runs_without_results_are_named(self, report: Path) -> None:
        text = (report / "index.html").read_text(encoding="utf-8")
        assert "2 runs have no results (" in text
        assert "cut: not finished" in text
        assert "anbn-gpt2-seed0-00000000: failed: MemoryError: no | memory" in text
