"""The figure of rates against complexity."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hf_ruleextrap.formal import complexity
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.report.analysis import Analysis, Point, Relation, complexity_relations, measures_of
from hf_ruleextrap.report.complexity import complexities
from hf_ruleextrap.report.style import Picture, drawing

LANGUAGES = ["anbn", "ban", "random-regular-7", "dyck"]


def point(language: str, rate: float, architecture: str = "lstm") -> Point:
    return Point(language, (architecture, ""), 16, 0.1, True, rate)


def analysis_of(points: list[Point]) -> Analysis:
    measures = measures_of(points)
    relations: dict[tuple[str, str], Relation] = {(r.cause, r.over): r for r in complexity_relations(measures)}
    return Analysis([], points, relations, measures, {})


def test_a_run_has_its_language_s_measure() -> None:
    points = [point(name, 0.5) for name in LANGUAGES]
    measured = measures_of(points)["nerode_classes"]
    for found, value in measured:
        assert value == complexity(get_language(found.language), max_length=16).nerode_classes
    assert [found for found, _ in measured] == points


def test_a_language_that_is_not_here_any_more_is_left_out() -> None:
    points = [point("gone", 0.5), point("anbn", 0.5), point("ban", 0.5)]
    assert [found.language for found, _ in measures_of(points)["entropy_rate"]] == ["anbn", "ban"]


def test_a_correlation_is_that_of_the_ranks_and_counts_languages() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    rates = {"a": (1.0, 0.9), "b": (2.0, 0.4), "c": (3.0, 0.5), "d": (4.0, 0.1), "e": (5.0, 0.2), "f": (6.0, 0.05)}
    measured = [(point(name, rates[name][1]), rates[name][0]) for name in names]
    # Spearman without ties, by hand; ranks 1 2 3 4 5 6 against 6 4 5 2 3 1.
    expected = 1 - 6 * (25 + 4 + 4 + 4 + 4 + 25) / (6 * 35)
    (once,), (twice,) = (complexity_relations({"m": runs}) for runs in (measured, [*measured, *measured]))
    assert once.correlation.value == pytest.approx(expected)
    # Every run twice: more runs, and no surer.
    assert twice.correlation.n == 12
    assert twice.correlation.p == pytest.approx(once.correlation.p, abs=0.01)
    assert twice.correlation.low == pytest.approx(once.correlation.low, abs=0.05)


def test_the_figure_has_a_panel_a_measure(tmp_path: Path) -> None:
    points = [
        point(name, 0.1 * i, architecture) for i, name in enumerate(LANGUAGES) for architecture in ("lstm", "mamba")
    ]
    with drawing():
        picture = complexities(analysis_of(points), tmp_path)
    assert isinstance(picture, Picture)
    assert "8 runs" in picture.caption
    svg = picture.svg.read_text(encoding="utf-8")
    for name in ("entropy rate", "Myhill-Nerode classes", "counter depth", "description length"):
        assert re.search(name, svg)
    assert all(path.exists() for path in picture.files)


def test_too_few_languages_are_a_line(tmp_path: Path) -> None:
    assert "3 languages" in str(complexities(analysis_of([point("anbn", 0.5)]), tmp_path))
