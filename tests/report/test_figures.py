"""The report's figures."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from report_study import AUTHORS_WAY, MASSES, mass_log
from studies import results

from hf_ruleextrap.report import Run, Study, write_report
from hf_ruleextrap.report.curves import mean_masses, optimum
from hf_ruleextrap.train.recipe import Recipe


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
        write_report(Study([Run.of(results(floor=None))]), tmp_path / "out")
        assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {"rates", "loss"}
        page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
        for reason in (
            "No figure of the reproduction",
            "No figure of cell masses",
            "No figure of OOD rate against length",
        ):
            assert reason in page
        assert "entropy per token" not in page

    def test_a_study_of_authors_recipes_alone_is_shown(self, tmp_path: Path) -> None:
        write_report(Study([Run.of(results(paper=AUTHORS_WAY))]), tmp_path / "out")
        assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {"authors"}

    def test_the_masses_are_the_mean_over_runs_at_steps_of_all(self) -> None:
        runs = [results(seed=seed, mass_length=4) for seed in (0, 1)]
        logs = [mass_log(1), mass_log(2)[:4]]
        steps, cells = mean_masses([Run.of(run, log) for run, log in zip(runs, logs, strict=True)])
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
