"""The figure of rates against complexity."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hf_ruleextrap.formal import complexity
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.report.answer import Point
from hf_ruleextrap.report.complexity import complexities, measured_by, over_languages
from hf_ruleextrap.report.style import Picture, drawing

LANGUAGES = ["anbn", "ban", "random-regular-7", "dyck"]


def point(language: str, rate: float, architecture: str = "lstm") -> Point:
    return Point(language, (architecture, ""), 16, 0.1, True, rate)


def test_a_run_has_its_language_s_measure() -> None:
    points = [point(name, 0.5) for name in LANGUAGES]
    for found, value in measured_by(points, "nerode_classes"):
        assert value == complexity(get_language(found.language), max_length=16).nerode_classes
    assert [found for found, _ in measured_by(points, "nerode_classes")] == points


def test_a_language_that_is_not_here_any_more_is_left_out() -> None:
    points = [point("gone", 0.5), point("anbn", 0.5)]
    assert [found.language for found, _ in measured_by(points, "entropy_rate")] == ["anbn"]


def test_a_correlation_is_that_of_the_ranks_and_counts_languages() -> None:
    rates = {"a": (1.0, 0.9), "b": (2.0, 0.4), "c": (3.0, 0.5), "d": (4.0, 0.1), "e": (5.0, 0.2)}
    measured = [(point(name, rate), value) for name, (value, rate) in rates.items()]
    # Spearman without ties, by hand; ranks 1 2 3 4 5 against 5 3 4 1 2.
    expected = 1 - 6 * (16 + 1 + 1 + 9 + 9) / (5 * 24)
    found = over_languages(measured)
    assert found.value == pytest.approx(expected)
    # Every run twice: more runs, and no surer.
    twice = over_languages([*measured, *measured])
    assert (twice.n, twice.low, twice.high) == (10, found.low, found.high)
    assert over_languages(measured[:2]).value is None


def test_the_figure_has_a_panel_a_measure(tmp_path: Path) -> None:
    points = [
        point(name, 0.1 * i, architecture) for i, name in enumerate(LANGUAGES) for architecture in ("lstm", "mamba")
    ]
    with drawing():
        picture = complexities(points, tmp_path)
    assert isinstance(picture, Picture)
    assert "8 runs" in picture.caption
    svg = picture.svg.read_text(encoding="utf-8")
    for name in ("entropy rate", "Myhill-Nerode classes", "counter depth", "description length"):
        assert re.search(name, svg)
    assert all(path.exists() for path in picture.files)


def test_too_few_languages_are_a_line(tmp_path: Path) -> None:
    assert "3 languages" in str(complexities([point("anbn", 0.5)], tmp_path))
