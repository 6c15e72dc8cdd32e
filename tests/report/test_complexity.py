"""The figure of rates against complexity, on a store of few tiny runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import TINY

from hf_ruleextrap.formal import Rate, complexity
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.report.complexity import Point, correlations, draw_complexity, points_of
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results
from hf_ruleextrap.train.run import run

LANGUAGES = ["anbn", "ban", "random-regular-7"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    folder = tmp_path_factory.mktemp("store")
    found = []
    for i, name in enumerate([*LANGUAGES, "anbn"]):
        recipe = {**TINY, "max_steps": 4, "eval_steps": 4, "language": name, "seed": i}
        found.append(run(Recipe.of({**recipe, "output_dir": str(folder / str(i))}, "test")))
    return found


def test_a_point_is_a_run_and_its_language_s_measure(results: list[Results]) -> None:
    points = points_of(results, "nerode_classes")
    assert [point.language for point in points] == [*LANGUAGES, "anbn"]
    for point, found in zip(points, results, strict=True):
        assert point.rate == found.best.kinds["ood"].report.headline.rate
        assert point.measure == complexity(get_language(point.language), max_length=TINY["max_length"]).nerode_classes


def test_the_figure_has_a_panel_a_measure_with_all_runs(results: list[Results]) -> None:
    figure, caption = draw_complexity(results)
    assert len(figure.axes) == 4
    for axes in figure.axes:
        assert sum(len(line.get_xdata()) for line in axes.get_lines()) == 4
    for name in ("entropy rate", "Myhill-Nerode classes", "counter depth", "description length"):
        assert name in caption
    assert caption.count("(4 runs, 3 languages)") == 4


def test_a_correlation_is_that_of_the_ranks() -> None:
    rates = {"a": (1.0, 0.9), "b": (2.0, 0.4), "c": (3.0, 0.5), "d": (4.0, 0.1)}
    points = [Point(name, "lstm", *pair) for name, pair in rates.items()]
    # Spearman without ties: 1 - 6 * (9 + 1 + 1 + 9) / (4 * 15), by hand; ranks 1 2 3 4 against 4 2 3 1.
    expected = 1 - 6 * (9 + 0 + 0 + 9) / (4 * 15)
    text = correlations(points)
    assert f"{expected:.2f} over runs, {expected:.2f} [" in text
    assert text.endswith("over languages (4 runs, 4 languages)")
    # More runs of one language are one language.
    assert "over languages (6 runs, 4 languages)" in correlations([*points, points[0], points[0]])


def test_without_a_correlation_it_says_so() -> None:
    one = Point("a", "lstm", 1.0, 0.5)
    assert correlations([]) == "undefined (0 runs, 0 languages)"
    assert correlations([one, one, one]) == "undefined (3 runs, 1 languages)"
    assert "nan" not in correlations([one, Point("b", "lstm", 1.0, 0.1), Point("c", "lstm", 1.0, 0.2)])


def test_what_is_undefined_is_left_out(results: list[Results]) -> None:
    best = results[0].best
    ood = best.kinds["ood"]
    report = replace(ood.report, headline=Rate(None, None, None, 0, 0))
    without = replace(best, kinds={**best.kinds, "ood": replace(ood, report=report)})
    points = points_of([results[0].model_copy(update={"best": without}), *results[1:]], "nerode_classes")
    assert [point.language for point in points] == [*LANGUAGES[1:], "anbn"]
