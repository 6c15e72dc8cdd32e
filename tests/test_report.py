"""The report of a study: its numbers are those of the runs, recomputed here in a few lines."""

from __future__ import annotations

import csv
import html.parser
import itertools
import json
import math
import re
import shutil
import statistics
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from studies import PROMPTS, REFERENCES, at_length, evaluation, rate, results, write_store
from tiny import TINY

from hf_ruleextrap import __version__
from hf_ruleextrap.cli import main
from hf_ruleextrap.report import Row, Run, Study, rates_of, read_study, summarize, write_report
from hf_ruleextrap.report.answer import answer, loss_correlations, points, verdict
from hf_ruleextrap.report.curves import optimum
from hf_ruleextrap.report.rows import PAPER, in_chomsky_order
from hf_ruleextrap.report.spread import Spread, rank_correlation, t_quantile
from hf_ruleextrap.report.tables import Cell, Line, Table, escape_latex, latex, markdown
from hf_ruleextrap.report.write import all_rows
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results
from hf_ruleextrap.train.run import run

GOLDEN = Path(__file__).parent / "golden" / "report.md"
T95 = {2: 12.7062, 3: 4.3027, 4: 3.1824}
"""Student's t as tables have it, by the number of runs."""

AUTHORS_WAY = {
    "id_rule_1_accuracy": 0.8,
    "id_rule_2_accuracy": 0.7,
    "id_finished": 0.9,
    "ood_rule_1_accuracy": 0.3,
    "ood_rule_2_completion_accuracy": 0.6,
    "ood_finished": 0.5,
}
MASSES = {"both": 0.2, "only_r1": 0.01, "only_r2": 0.1, "neither": 0.3}


def mass_log(factor: float) -> list[dict[str, float]]:
    """Three evaluations, and lines that are none."""
    lines: list[dict[str, float]] = []
    for step in (10, 20, 30):
        cells = {f"eval_mass_{name}": mass * factor * step / 30 for name, mass in MASSES.items()}
        lines += [{"step": step, "loss": 1.0}, {"step": step, "eval_loss": 1.0, **cells}]
    return lines


def study_runs() -> list[Results]:
    """Three languages; one run whose loss diverged; an authors' recipe, one of whose runs never finished."""
    lengths = [at_length(n, hits, kind=kind) for n, hits in ((4, 15), (8, 5)) for kind in ("ood", "id")]
    return [
        results("anbn", "lstm", 0, outside=(8, 9, 18, 20), loss=0.30, mass_length=4, by_length=lengths),
        results("anbn", "lstm", 1, outside=(10, 11, 20, 20), loss=0.35, mass_length=4, by_length=lengths[:2]),
        results("anbn", "lstm", 2, outside=(15, 15, 17, 19), loss=float("nan"), mass_length=4),
        results("anbn", "transformer", 0, outside=(0, 1, 0, 2), loss=0.9, mass_length=4),
        results("csdyck", "lstm", 0, outside=(20, 20, 20, 20), loss=0.6, floor=None),
        results("csdyck", "lstm", 1, outside=(20, 20, 20, 20), loss=0.7, floor=None),
        results("bban", "lstm", 0, outside=(4, 4, 10, 20), loss=0.4),
        results("anbn", "lstm", 0, paper=AUTHORS_WAY, loss=0.04, floor=0.03),
        results("anbn", "lstm", 1, paper={"id_finished": 0.0, "ood_finished": 0.0}, loss=0.06, floor=0.03),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = study_runs()
    logs = [mass_log(factor) if run.recipe.mass_length else [] for factor, run in enumerate(runs, start=1)]
    folder = write_store(tmp_path_factory.mktemp("store"), runs, logs)
    (folder / "cut").mkdir()
    (folder / "cut" / "recipe.yaml").write_text("language: anbn\n")
    (folder / "failures").mkdir()
    (folder / "failures" / "anbn-gpt2-seed0-00000000.txt").write_text("Traceback\nMemoryError: no | memory\n")
    return folder


@pytest.fixture(scope="module")
def report(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert main(["report", str(store), "--out", str(folder)]) == 0
    return folder


def numbers(report: Path, **wanted: str) -> dict[str, dict[str, str]]:
    """The lines of report.csv of one row, by column."""
    with (report / "report.csv").open(encoding="utf-8") as file:
        found = [line for line in csv.DictReader(file) if all(line[key] == value for key, value in wanted.items())]
    assert len({(line["model"], line["variant"], line["source"]) for line in found}) == 1
    return {line["column"]: line for line in found}


def check(line: dict[str, str], values: Sequence[float], *, rate: bool = True) -> None:
    """A line of report.csv is the mean, std, n and t interval of these."""
    mean = statistics.mean(values)
    assert float(line["mean"]) == pytest.approx(mean)
    assert line["n"] == str(len(values))
    if len(values) == 1:
        assert line["std"] == line["low"] == line["high"] == ""
        return
    std = statistics.stdev(values)
    assert float(line["std"]) == pytest.approx(std, abs=1e-12)
    half = T95[len(values)] * std / math.sqrt(len(values))
    low, high = (max(0.0, mean - half), min(1.0, mean + half)) if rate else (mean - half, mean + half)
    assert (float(line["low"]), float(line["high"])) == pytest.approx((low, high), abs=1e-4)


class TestNumbers:
    """Each from the store's JSON."""

    def of(self, store: Path, *, paper: bool, language: str = "anbn", architecture: str = "lstm") -> list[dict]:  # type: ignore[type-arg]  # JSON
        found = [json.loads(path.read_text()) for path in sorted(store.glob("*/results.json"))]
        key = (language, architecture, paper)
        return [r for r in found if (r["recipe"]["language"], r["recipe"]["architecture"], r["recipe"]["paper"]) == key]

    def test_corrected_are_over_all_prompts(self, store: Path, report: Path) -> None:
        runs = self.of(store, paper=False)
        found = numbers(report, language="anbn", model="lstm", way="corrected")
        inside, outside = ([r["best"]["kinds"][kind]["report"] for r in runs] for kind in ("id", "ood"))
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
        assert set(found) == {*expected, "test_loss"}
        for column, rates in expected.items():
            check(found[column], [r["hits"] / r["n"] for r in rates])
        # The loss of the third is NaN, and n says so.
        check(found["test_loss"], [r["test_without_padding"]["loss"] for r in runs[:2]], rate=False)

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
            check(found["test_loss"], [r["test_with_padding"]["loss"] for r in runs], rate=False)
        assert numbers(report, language="anbn", model="lstm", source="best_check")["ood_r1"]["n"] == "1"

    def test_references_are_those_of_the_runs(self, store: Path, report: Path) -> None:
        runs = self.of(store, paper=False) + self.of(store, paper=False, architecture="transformer")
        assert len(runs) == 4
        for source in ("uniform", "always-stop", "trigram", "oracle"):
            found = numbers(report, language="anbn", source=source, way="corrected")
            reports = [r["best"]["kinds"]["ood"]["references"][source] for r in runs]
            check(found["ood_headline"], [r["headline"]["rate"] for r in reports])
            check(found["ood_headline"], [REFERENCES[source][0] / PROMPTS] * 4)
            check(found["ood_r1"], [r["rules"]["as_equal_bs"]["word"]["all"]["rate"] for r in reports])
        floor = numbers(report, language="anbn", source="floor", way="corrected")
        assert set(floor) == {"test_loss"}
        check(floor["test_loss"], [r["test_without_padding"]["floor"] for r in runs], rate=False)
        among = numbers(report, language="anbn", source="uniform", way="reproduced")["ood_r1"]
        paper = [r["best"]["kinds"]["ood"]["references"]["uniform"] for r in self.of(store, paper=True)]
        check(among, [r["rules"]["as_equal_bs"]["word"]["finished"]["rate"] for r in paper])
        padded = numbers(report, language="anbn", source="floor", way="reproduced")["test_loss"]
        check(padded, [r["test_with_padding"]["floor"] for r in self.of(store, paper=True)], rate=False)

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
        assert corrected == {"ours", "uniform", "always-stop", "trigram", "oracle", "floor"}
        assert reproduced == {"best_check", "minimum_loss", "authors", "uniform", "floor"}

    def test_every_run_has_a_line_with_its_own_numbers(self, store: Path, report: Path) -> None:
        with (report / "runs.csv").open(encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        assert len(lines) == len(study_runs())
        assert len({line["run"] for line in lines}) == len(lines)
        for line, path in zip(lines, sorted(store.glob("*/results.json")), strict=True):
            found = json.loads(path.read_text())
            headline = found["best"]["kinds"]["ood"]["report"]["headline"]
            shown = [
                float(line[key]) for key in ("ood_headline", "ood_headline_low", "ood_headline_high", "ood_headline_n")
            ]
            assert shown == pytest.approx([headline[key] for key in ("rate", "low", "high", "n")])
            assert float(line["test_loss"]) == pytest.approx(found["test_without_padding"]["loss"], nan_ok=True)


class TestStatistics:
    def test_students_t_is_that_of_the_tables(self) -> None:
        known = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 9: 2.26216, 29: 2.04523, 1000: 1.96234}
        for df, quantile in known.items():
            assert t_quantile(df) == pytest.approx(quantile, abs=2e-4)

    @pytest.mark.parametrize("seed", range(4))
    def test_a_rank_correlation_is_spearman_s(self, seed: int) -> None:
        import random

        rng = random.Random(seed)
        # Few values, so that there are ties.
        x, y = ([float(rng.randint(0, 6)) for _ in range(9)] for _ in range(2))
        found = rank_correlation(x, y)
        rho = pearson(slow_ranks(x), slow_ranks(y))
        assert found.value == pytest.approx(rho)
        assert found.low is not None
        assert found.high is not None
        # Bonett and Wright's interval, written out.
        half = 1.959964 * math.sqrt((1 + rho * rho / 2) / (9 - 3))
        ends = [math.tanh(math.atanh(rho) + sign * half) for sign in (-1, 1)]
        assert [found.low, found.high] == pytest.approx(ends, abs=1e-6)

    def test_within_strata_only_what_differs_within_counts(self) -> None:
        # Falling within each, rising over both: Simpson's paradox.
        x, y, strata = [1, 2, 3, 11, 12, 13], [3, 2, 1, 13, 12, 11], "aaabbb"
        pooled, within = rank_correlation(x, y), rank_correlation(x, y, strata=strata)
        assert pooled.value is not None
        assert pooled.value > 0
        assert within.value == -1

    def test_seeds_of_one_model_count_once_in_the_interval(self) -> None:
        x, y = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10], [1.0, 3, 2, 5, 4, 7, 6, 9, 8, 10]
        alone, together = rank_correlation(x, y), rank_correlation(x, y, units="aabbccddee")
        assert alone.value == together.value
        assert alone.low is not None
        assert together.low is not None
        assert together.low < alone.low
        assert rank_correlation(x, y, units="aaaabbbbcc").low is None

    @pytest.mark.parametrize(
        ("x", "y"), [([], []), ([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0]), ([1.0] * 5, [1.0, 2, 3, 4, 5])]
    )
    def test_what_has_no_correlation_says_so(self, x: list[float], y: list[float]) -> None:
        found = rank_correlation(x, y)
        assert (found.value, found.low, found.high, found.n) == (None, None, None, len(x))
        assert "undefined" in str(found)


def slow_ranks(values: Sequence[float]) -> list[float]:
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    a, b = ([value - statistics.mean(values) for value in values] for values in (x, y))
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


class TestAnswer:
    def test_it_is_told_from_chance_by_both_intervals(self) -> None:
        def row(*hits: int, n: int) -> Row:
            return Row.over("anbn", "lstm", "ours", "corrected", [{"ood_headline": rate(k, n)} for k in hits])

        assert verdict(row(150, 160, 155, n=200), "ood_headline", 0.5) == "above"
        assert verdict(row(5, 6, 4, n=200), "ood_headline", 0.5) == "below"
        assert verdict(row(100, 199, 5, n=200), "ood_headline", 0.5) == "open"
        # All runs agree, but on three prompts: no width over runs, and far too much over prompts.
        assert verdict(row(3, 3, 3, n=3), "ood_headline", 0.5) == "open"
        # One run has its prompts alone.
        assert verdict(row(190, n=200), "ood_headline", 0.5) == "above"
        assert verdict(row(190, n=200), "ood_headline", None) is None
        assert verdict(row(190, n=200), "ood_r1", 0.5) is None

    def test_it_follows_the_numbers(self) -> None:
        """The same runs with the loss turned round say the opposite, and runs without any order say nothing."""

        def said(loss_of_hits: dict[int, float]) -> str:
            runs = [
                results(language, name, outside=(hits, hits, hits, 20), loss=loss)
                for language in ("anbn", "ban", "dyck", "csdyck")
                for name, (hits, loss) in zip(
                    ("linear", "lstm", "transformer", "mamba", "xlstm"), loss_of_hits.items(), strict=True
                )
            ]
            return "\n".join(answer(runs, summarize(runs)).paragraphs)

        assert "the rate falls as the loss rises" in said({2: 0.9, 5: 0.8, 9: 0.6, 14: 0.7, 18: 0.5})
        assert "the rate rises with the loss" in said({2: 0.5, 5: 0.7, 9: 0.6, 14: 0.8, 18: 0.9})
        assert "do not show that it follows from the test loss" in said({2: 0.7, 5: 0.9, 9: 0.5, 14: 0.8, 18: 0.6})

    def test_the_level_is_hedged(self) -> None:
        order = {"ban": 18, "bban": 17, "anbn": 12, "dyck": 11, "anbncn": 5, "csdyck": 4}
        runs = [results(name, outside=(hits, hits, hits, 20)) for name, hits in order.items()]
        level = answer(runs, summarize(runs)).paragraphs[1]
        # Six languages on three levels: ranks 1.5 1.5 3.5 3.5 5.5 5.5 against 6 to 1.
        rho = pearson([1.5, 1.5, 3.5, 3.5, 5.5, 5.5], [6, 5, 4, 3, 2, 1])
        assert f"lstm {rho:.2f} [" in level
        assert "(n = 6)" in level
        assert "the rate falls as the level rises (lstm)" in level
        few = answer(runs[:2], summarize(runs[:2])).paragraphs[1]
        assert "here are 2 on 1" in few

    def test_pooling_alone_would_deceive(self) -> None:
        runs = [
            results(language, name, outside=(base + i, 9, 9, 20), loss=base / 10 + 0.5 - i / 100)
            for language, base in (("anbn", 2), ("ban", 8), ("dyck", 14))
            for i, name in enumerate(("linear", "lstm", "transformer", "mamba", "xlstm"))
        ]
        found = loss_correlations(points(runs))
        assert found.pooled.value is not None
        assert found.pooled.value > 0.5
        assert found.within.value == -1
        assert [c.value for c in found.languages.values()] == [-1, -1, -1]

    def test_models_trained_on_the_prompts_are_shown_and_answer_nothing(self) -> None:
        runs = [results(outside=(5, 5, 5, 20)), results(outside=(20, 20, 20, 20), objective="oracle")]
        rows = summarize(runs)
        assert [row.label for row in rows if row.source == "on_prompts"] == ["lstm (objective oracle)"]
        assert len(points(runs)) == 1
        assert "Pairs of a language and a model: 1," in answer(runs, rows).paragraphs[0]

    def test_without_corrected_runs_it_says_so(self) -> None:
        runs = [results(paper=AUTHORS_WAY)]
        assert "No run of a corrected recipe" in answer(runs, summarize(runs)).paragraphs[0]


class TestRows:
    def test_languages_stand_in_chomsky_order_and_strangers_last(self) -> None:
        names = ["csdyck", "anbn", "gone", "bban", "ban", "anbncn"]
        assert in_chomsky_order(names) == ["ban", "bban", "anbn", "anbncn", "csdyck", "gone"]

    def test_variants_are_called_by_what_differs(self) -> None:
        runs = [results(seed=s, learning_rate=lr, output_dir=f"{s}{lr}") for s in (0, 1) for lr in (0.1, 0.01)]
        ours = [row for row in summarize(runs) if row.source == "ours"]
        assert [(row.label, row.n) for row in ours] == [
            ("lstm (learning_rate 0.1)", 2),
            ("lstm (learning_rate 0.01)", 2),
        ]

    def test_another_source_stands_in_every_form(self, tmp_path: Path) -> None:
        found = rates_of(evaluation("anbn", (20, 20, 20, 20), (13, 14, 15, 16)))
        other = Row.over("anbn", "Some_LLM & co", "greedy, 32 examples", "corrected", [found])
        study = Study([Run(tmp_path, results())], rows=[other])
        ours, theirs, *rest = (row for row in all_rows(study) if row.way == "corrected")
        assert (ours.name, theirs) == ("lstm", other)
        assert all(not row.name for row in rest)
        write_report(study, tmp_path / "out")
        read = {path.suffix: path.read_text() for path in (tmp_path / "out").glob("*.*")}
        assert "| Some\\_LLM & co | 1 | - | 1.00 |" in read[".md"]
        assert "Some\\_LLM \\& co & 1 & - & 1.00" in read[".tex"]
        assert "Some_LLM &amp; co" in read[".html"]
        line = numbers(tmp_path / "out", model="Some_LLM & co")["ood_headline"]
        assert (line["mean"], line["n"], line["source"]) == ("0.65", "1", "greedy, 32 examples")
        # One that knows no more than its rate, and no run of ours beside them.
        bare = Row.over("anbn", "bare", "greedy", "corrected", [{"ood_headline": 0.31}])
        write_report(Study([], rows=[other, bare]), tmp_path / "alone")
        assert "| bare | 1 | - | - | - | 0.31 |" in (tmp_path / "alone" / "report.md").read_text()


class TestForms:
    def test_markdown_is_the_golden_one(self, report: Path) -> None:
        """To renew it, copy the report.md of this test over it and read what changed."""
        found = (
            (report / "report.md")
            .read_text(encoding="utf-8")
            .replace(f"hf-ruleextrap {__version__}", "hf-ruleextrap VERSION")
        )
        assert found == GOLDEN.read_text(encoding="utf-8")

    def test_markdown_tables_have_as_many_cells_as_headings(self, report: Path) -> None:
        text = (report / "report.md").read_text(encoding="utf-8")
        tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
        # The answer's two; corrected and reproduced of anbn, csdyck and bban.
        assert len(tables) == 8
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
                    counted = "n" in headings and cells[headings.index("n")].isdigit()
                    assert counted or re.search(r"\(\d+\)", cell)

    def test_undefined_is_a_dash(self) -> None:
        runs = [results(outside=(0, 0, 0, 0), paper={"id_finished": 0.0})]
        best = next(row for row in summarize(runs) if row.source == "best_check")
        assert best.values["ood_r1"] == Spread(None, None, 0)

    def test_latex_is_balanced_and_escaped(self, report: Path) -> None:
        text = (report / "report.tex").read_text(encoding="utf-8")
        assert text.isascii()
        plain = re.sub(r"\\[\\&%$#_{}]", "", text)
        assert plain.count("{") == plain.count("}")
        assert text.count("\\begin{") == text.count("\\end{") == 2 * 8
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
        # The five figures of this store, plus one of the reproduction.
        assert page.count("<svg") == len(list((report / "figures").glob("*.svg"))) == 7
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
        assert "in no number here: 2 (" in text
        assert "cut: not finished" in text
        assert "anbn-gpt2-seed0-00000000: failed: MemoryError: no | memory" in text

    def test_the_same_store_gives_the_same_bytes(self, store: Path, report: Path, tmp_path: Path) -> None:
        assert main(["report", str(store), "--out", str(tmp_path)]) == 0
        files = sorted(path.relative_to(report) for path in report.rglob("*.*"))
        assert len(files) == 5 + 7 * 3
        for name in files:
            assert (tmp_path / name).read_bytes() == (report / name).read_bytes(), name


class Balance(html.parser.HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # the signature is html's
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def compile_latex(text: str, folder: Path) -> None:
    """Where there is a LaTeX."""
    engine = shutil.which("pdflatex")
    if engine is None:
        pytest.skip("no pdflatex here")
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,graphicx}\\begin{document}"
    (folder / "t.tex").write_text(f"{head}\n{text}\n\\end{{document}}\n", encoding="utf-8")
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]


class TestFigures:
    def test_each_is_drawn_in_three_formats(self, report: Path) -> None:
        names = {"rates", "authors", "loss", "complexity", "dynamics", "length_ood", "length_id"}
        assert {path.name for path in (report / "figures").iterdir()} == {
            f"{name}.{suffix}" for name, suffix in itertools.product(names, ("svg", "pdf", "png"))
        }
        for name in names:
            ET.parse(report / "figures" / f"{name}.svg")
            assert (report / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
            assert (report / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    def test_one_with_nothing_to_show_is_left_out_and_said(self, tmp_path: Path) -> None:
        write_report(Study([Run(tmp_path, results(floor=None))]), tmp_path / "out")
        assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {"rates", "loss"}
        page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
        for reason in (
            "No figure of the reproduction",
            "No figure of cell masses",
            "No figure of OOD rate against length",
        ):
            assert reason in page
        assert "entropy of the data" not in page

    def test_a_study_of_authors_recipes_alone_is_shown(self, tmp_path: Path) -> None:
        write_report(Study([Run(tmp_path, results(paper=AUTHORS_WAY))]), tmp_path / "out")
        assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {"authors"}

    def test_the_masses_are_the_mean_over_runs_at_steps_of_all(self, tmp_path: Path) -> None:
        from hf_ruleextrap.report.curves import _masses

        runs = [results(seed=seed, mass_length=4) for seed in (0, 1)]
        folder = write_store(tmp_path, runs, [mass_log(1), mass_log(2)[:4]])
        steps, cells = _masses([Run(folder / f"{i:02}", run) for i, run in enumerate(runs)])
        assert steps == [10, 20]
        for name, mass in MASSES.items():
            assert cells[name].tolist() == pytest.approx([mass * 1.5 / 3, mass * 1.5 * 2 / 3])

    def test_the_optimum_is_what_the_data_give(self) -> None:
        # a^n b^n with n in 1 to 8, each as likely: of up to 4 symbols are two of eight; of any length, all.
        keys = {"language": "anbn", "max_length": 16}
        assert optimum(Recipe.of({**keys, "mass_length": 4}, "test")) == pytest.approx(2 / 8)
        assert optimum(Recipe.of({**keys, "mass_length": 17}, "test")) == pytest.approx(1)

    def test_the_paper_s_architectures_look_the_same_in_every_report(self) -> None:
        from hf_ruleextrap.report.style import looks

        few, many = looks([("lstm", "")]), looks([("gpt2", ""), ("lstm", "optimizer sgd"), ("lstm", ""), ("xlstm", "")])
        assert few["lstm", ""] == many["lstm", ""]
        drawn = [(look.colour, look.hatch, look.marker, str(look.line)) for look in many.values()]
        # In grey each attribute must tell them apart by itself.
        for attribute in zip(*drawn, strict=True):
            assert len(set(attribute)) == len(drawn)


class TestBadInput:
    def fails(self, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
        assert main(["report", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert error.strip().count("\n") == 0
        return error

    def test_no_results(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "holds no results" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")
        assert "holds no results" in self.fails(capsys, tmp_path / "nowhere", "--out", tmp_path / "out")

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "\xff"])
    def test_torn_results(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
        (tmp_path / "cell").mkdir()
        (tmp_path / "cell" / "results.json").write_bytes(text.encode("latin-1"))
        assert "is torn" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")

    def test_another_schema_and_a_field_that_is_wrong(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = write_store(tmp_path, [results()]) / "00" / "results.json"
        found = json.loads(path.read_text())
        path.write_text(json.dumps({**found, "schema_version": 99}))
        assert "another version (schema 99, here" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")
        del found["training"]["steps"]
        path.write_text(json.dumps(found))
        assert "does not fit schema" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")

    def test_an_out_that_is_a_file_or_in_one(
        self, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").write_text("kept")
        for out in (tmp_path / "file", tmp_path / "file" / "below"):
            assert "give a folder as --out" in self.fails(capsys, store, "--out", out)
        assert (tmp_path / "file").read_text() == "kept"

    def test_a_torn_log(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_store(tmp_path, [results(mass_length=4)], [mass_log(1)])
        with (tmp_path / "00" / "log.jsonl").open("a") as file:
            file.write('{"step"')
        assert "log.jsonl is torn" in self.fails(capsys, tmp_path, "--out", tmp_path / "out")

    def test_a_run_that_would_count_twice(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_store(tmp_path / "a", [results(), results(seed=1)])
        write_store(tmp_path / "b", [results(output_dir="elsewhere")])
        assert "are the same run" in self.fails(capsys, tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")

    def test_nothing_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no results to report"):
            write_report(Study([]), tmp_path)


def test_several_stores_make_one_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_store(tmp_path / "a", [results()])
    b = write_store(tmp_path / "b", [results(seed=1), results(paper=AUTHORS_WAY)])
    assert main(["report", str(a), str(b), "--out", str(tmp_path / "out")]) == 0
    assert "3 runs in" in capsys.readouterr().out
    assert numbers(tmp_path / "out", language="anbn", source="ours")["ood_headline"]["n"] == "2"


def test_a_language_that_is_gone_is_still_shown(tmp_path: Path) -> None:
    run = results()
    # Whatever a file of one's own is called.
    name = "my_files/50% $of$ {them}.py:A_B"
    gone = run.model_copy(update={"recipe": run.recipe.model_copy(update={"language": name})})
    write_report(Study([Run(tmp_path, gone)]), tmp_path / "out")
    assert "its rules cannot be named" in (tmp_path / "out" / "report.md").read_text()
    compile_latex((tmp_path / "out" / "report.tex").read_text(encoding="utf-8"), tmp_path)


def test_what_a_run_leaves_behind_is_what_a_report_reads(tmp_path: Path) -> None:
    keys = {**TINY, "mass_length": 3, "by_length": [4], "output_dir": str(tmp_path / "store" / "cell")}
    made = run(Recipe.of(keys, "test"))
    study = read_study([tmp_path / "store"])
    assert study.runs[0].results == made
    write_report(study, tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {
        "rates", "loss", "dynamics", "length_ood", "length_id",
    }  # fmt: skip


def test_the_paper_s_numbers_all_have_their_n() -> None:
    cells = [cell for language in PAPER["results"].values() for row in language.values() for cell in row.values()]
    assert len(cells) == 6 * 5 * 5
    assert all(set(cell) == {"mean", "std", "n"} and cell["n"] > 1 for cell in cells)
