"""The figures of a report: their files, their data, and texts that do not overlap."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from studies import AUTHORS_WAY, MASSES, at_length, claim_runs, mass_log, results

from hf_ruleextrap.evaluation.prequential import CodeLength
from hf_ruleextrap.evaluation.resemblance import Divergence
from hf_ruleextrap.formal import complexity
from hf_ruleextrap.formal.rational import LEARNERS
from hf_ruleextrap.languages import get_language, list_languages
from hf_ruleextrap.report import Row, Run, Study, curves, write_report
from hf_ruleextrap.report.analysis import analyze, cause_of
from hf_ruleextrap.report.curves import by_length, dynamics, mean_masses, optimum, resemblance
from hf_ruleextrap.report.figures import draw_all
from hf_ruleextrap.report.network_complexity import code_lengths
from hf_ruleextrap.report.rows import all_rows
from hf_ruleextrap.report.stream_section import draw_code_lengths
from hf_ruleextrap.report.style import GREY, ON_DARK, ON_LIGHT, drawing, label, looks
from hf_ruleextrap.train.recipe import Recipe


class TestFigures:
    def test_each_figure_is_drawn_in_three_formats(self, report: Path) -> None:
        names = {
            "rates", "pairs", "causes", "after_learning", "masses_after_learning", "dynamics",
            "length_ood", "length_id", "authors",
        }  # fmt: skip
        assert {path.name for path in (report / "figures").iterdir()} == {
            f"{name}{suffix}" for name, suffix in itertools.product(names, (".svg", ".pdf", ".png"))
        }
        for name in names:
            ET.parse(report / "figures" / f"{name}.svg")
            assert (report / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
            assert (report / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    def test_a_figure_without_data_is_left_out_and_named(self, tmp_path: Path) -> None:
        write_report(Study([Run.of(results(floor=None))]), tmp_path / "out")
        assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {"rates"}
        page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
        for reason in (
            "No figure of the reproduction",
            "No figure of cell masses",
            "No figure of OOD rate against length",
            "No figure of the time after learning",
            "No figure of the nearest rational learner",
        ):
            assert reason in page
        assert "entropy per token" not in page

    def test_a_study_of_recipes_of_the_authors_has_its_figure(self, tmp_path: Path) -> None:
        write_report(Study([Run.of(results(paper=AUTHORS_WAY))]), tmp_path / "out")
        assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {"authors"}

    def test_masses_are_means_over_runs_at_the_common_steps(self) -> None:
        runs = [results(seed=seed, mass_length=4) for seed in (0, 1)]
        logs = [mass_log(1), mass_log(2)[:4]]
        steps, cells = mean_masses([Run.of(run, log) for run, log in zip(runs, logs, strict=True)])
        assert steps == [10, 20]
        for name, mass in MASSES.items():
            assert cells[name].tolist() == pytest.approx([mass * 1.5 / 3, mass * 1.5 * 2 / 3])

    def test_no_mean_contains_runs_that_have_not_learned(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lengths = {hits: [at_length(4, hits, kind="id")] for hits in (20, 2)}
        learned = Run.of(results(seed=0, mass_length=4, by_length=lengths[20]), mass_log(1))
        other = Run.of(results(seed=1, mass_length=4, by_length=lengths[2], learned=False), mass_log(3))
        # The log of a run may be lost.
        lost = Run.of(results(seed=2, mass_length=4))
        for runs, factor, rate, title, colour in (
            ([learned, other, lost], 1, 1.0, "n = 1", "black"),
            ([other, lost], 3, 0.1, "n = 1, not learned", GREY),
        ):
            panel = drawn_panel(lambda shown=runs: dynamics(shown, tmp_path), monkeypatch)
            assert panel.lines[0].get_ydata().tolist() == pytest.approx(
                [MASSES["both"] * factor * k / 3 for k in (1, 2, 3)]
            )
            assert [
                (text.get_text().splitlines()[-1], text.get_color())
                for text in panel.get_children()
                if isinstance(text, Text) and text.get_text()
            ] == [(title, colour)]
            panel = drawn_panel(lambda shown=runs: by_length(shown, "id", tmp_path), monkeypatch)
            assert panel.lines[0].get_ydata().tolist() == [rate]
            assert (panel.lines[0].get_color() == GREY) == (colour == GREY)
        with drawing():
            assert str(dynamics([lost], tmp_path)).startswith("No figure of cell masses")
            apart = [
                Run.of(results(seed=seed, mass_length=4), log)
                for seed, log in enumerate((mass_log(1)[:2], mass_log(1)[2:]))
            ]
            assert str(dynamics(apart, tmp_path)).startswith("No figure of cell masses")

    def test_the_optimum_is_the_mass_of_the_training_distribution(self) -> None:
        # The words are a^n b^n with n from 1 to 8, which are equally likely. Two of the eight have up to 4 symbols.
        keys = {"language": "anbn", "max_length": 16}
        assert optimum(Recipe.of({**keys, "mass_length": 4}, "test")) == pytest.approx(2 / 8)
        assert optimum(Recipe.of({**keys, "mass_length": 17}, "test")) == pytest.approx(1)

    def test_a_run_has_the_complexity_of_its_language(self) -> None:
        run = Run.of(results("dyck", max_length=16))
        assert cause_of(run, "nerode_classes") == complexity(get_language("dyck"), max_length=16).nerode_classes
        gone = run.model_copy(update={"recipe": run.recipe.model_copy(update={"language": "gone"})})
        assert cause_of(gone, "nerode_classes") is None
        assert cause_of(gone, "level") is None

    def test_each_model_has_its_own_look_and_those_of_the_paper_a_fixed_one(self) -> None:
        one_model = looks([("lstm", "")])
        eleven_models = looks([*((f"model {i}", "") for i in range(9)), ("lstm", ""), ("lstm", "optimizer sgd")])
        assert one_model["lstm", ""] == eleven_models["lstm", ""]
        drawn = [(look.colour, look.marker, str(look.line)) for look in eleven_models.values()]
        assert len({(marker, colour) for colour, marker, _ in drawn}) == len(drawn)
        # Without colours, the markers distinguish the first seven models.
        assert len({marker for _, marker, _ in drawn[:7]}) == 7

    def test_the_page_shows_the_colours_of_its_theme(self, tmp_path: Path) -> None:
        runs, streams = with_all_figures(twelve_models()[::6])
        write_report(Study([*runs, *streams]), tmp_path)
        page = (tmp_path / "index.html").read_text(encoding="utf-8")
        drawings = page[page.index("<svg") :]
        # The fields of the heat map have the same colour in all themes, and so has the text on them.
        assert set(re.findall(r"#[0-9a-f]{6}\b", drawings)) == {ON_DARK, ON_LIGHT}
        for name in ("rates", "resemblance", "code-lengths", "stability", "excess-and-rates"):
            colours = re.findall("#[0-9a-f]{6}", (tmp_path / "figures" / f"{name}.svg").read_text(encoding="utf-8"))
            assert "#000000" in colours
        assert "var(--text)" in drawings


def drawn_panel(draw: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Axes:
    """Return the first panel of a figure of curves, and write no files."""
    figures: list[Figure] = []
    with monkeypatch.context() as patch, drawing():
        patch.setattr(curves, "save", lambda figure, _: figures.append(figure))
        draw()
    return figures[0].axes[0]


@contextmanager
def drawn_texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Figure, dict[int, tuple[str, Any]]]]:
    """Record each text that is drawn with its box, and write no files."""
    boxes: dict[Figure, dict[int, tuple[str, Any]]] = {}
    draw = Text.draw

    def recorded(text: Text, renderer: RendererBase) -> None:
        figure = text.get_figure(root=True)
        if text.get_visible() and text.get_text().strip() and isinstance(figure, Figure):
            # The last drawing has the final layout.
            boxes.setdefault(figure, {})[id(text)] = (text.get_text(), text.get_window_extent(renderer))
        draw(text, renderer)

    def save_nothing(_: Figure, path: Path, **__: Any) -> None:
        if path.suffix == ".png":
            Image.new("RGB", (1, 1)).save(path)
        else:
            path.write_text("<svg")

    # The files are not needed, and drawing them takes most of the time.
    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", recorded)
        patch.setattr(Figure, "savefig", save_nothing)
        yield boxes


def overlaps(boxes: dict[int, tuple[str, Any]]) -> list[tuple[str, str]]:
    """Return the texts of one figure whose boxes share more than a pixel in both directions."""
    pairs = []
    for (name, a), (other, b) in itertools.combinations(boxes.values(), 2):
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if width > 1 and height > 1:
            pairs.append((name, other))
    return pairs


LONG = "a_long_directory/of_my_own_languages.py:ALanguageWithALongName"


def own_languages() -> list[Run]:
    runs = [Run.of(results(architecture=name, seed=seed)) for name in ("lstm", "mamba") for seed in range(3)]
    names = [LONG, LONG.replace("ALanguage", "Another"), "x.py:$Odd"]
    return [
        run.model_copy(update={"recipe": run.recipe.model_copy(update={"language": name})})
        for name in names
        for run in runs
    ]


def long_variants() -> list[Run]:
    keys: list[dict[str, Any]] = [
        {},
        {"optimizer": "muon", "learning_rate": 0.005, "warmup_steps": 50, "max_steps": 4000, "batch_size": 64},
        {"model": {"num_hidden_layers": 3, "position_embedding_type": "rotary"}, "weight_decay": 0.1},
    ]
    return [Run.of(results(seed=seed, **each)) for each in keys for seed in range(4 if each else 5)]


def twelve_models() -> list[Run]:
    names = ["linear", "lstm", "transformer", "mamba", "xlstm", *(f"some-model-type-{i}" for i in range(7))]
    return [Run.of(results(language, name, s)) for language in ("ban", "anbn") for name in names for s in range(2)]


def every_language() -> list[Run]:
    return [Run.of(results(name)) for name in list_languages()]


def with_all_figures(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Return the runs with a divergence from each rational learner, and streams of their models at five settings."""
    means = zip(LEARNERS, (0.02, 3.0, 150.0), strict=True)
    near = tuple(Divergence(name, mean, mean / 2, 2 * mean, 64) for name, mean in means)
    settings: list[dict[str, Any]] = [{}, {"learning_rate": 0.00123}, {"learning_rate": 0.0123}]
    settings += [{"model": {"num_hidden_layers": 3}}, {"model": {"num_attention_heads": 2, "hidden_size": 96}}]
    streams = {}
    for place, run in enumerate(runs):
        for more, keys in enumerate(settings):
            nats = 1e4 * (place + 1) * (more + 2) ** 2
            curve = [(tokens, nats * tokens / 80) for tokens in range(10, 90, 10)]
            code = CodeLength(words=9, tokens=80, nats=nats, data=0, uniform=9, ngrams={}, curve=curve, reached={})
            recipe = run.recipe.model_copy(update={"stream": True, "seed": 0, **keys})
            cell = recipe.language, recipe.architecture, more
            streams.setdefault(cell, run.model_copy(update={"recipe": recipe, "code_length": code}))
    return [run.model_copy(update={"resemblance": near}) for run in runs], [*streams.values()]


SCENES = {
    "own languages": own_languages,
    "long recipe differences": long_variants,
    "one run": lambda: [Run.of(results())],
    "two runs of other recipes": lambda: [Run.of(results(learning_rate=rate)) for rate in (0.1, 0.01)],
    "12 models": twelve_models,
    "34 languages": every_language,
    "claims, curves and the authors' way": lambda: [
        *(
            Run.of(
                run.model_copy(
                    update={
                        "recipe": run.recipe.model_copy(update={"mass_length": 4}),
                        "by_length": [at_length(n, 9, kind=kind) for n in (4, 8) for kind in ("ood", "id")],
                    }
                ),
                [{**line, "step": line["step"] * 100} for line in mass_log(1)],
            )
            for run in claim_runs()
        ),
        Run.of(results(paper=AUTHORS_WAY)),
    ],
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scene", SCENES)
def test_texts_do_not_overlap(scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, streams = with_all_figures(SCENES[scene]())
    study = Study(runs, rows=[Row.over("anbn", "some-language-model", "greedy", "corrected", [{"ood_headline": 0.3}])])
    rows = all_rows(study.runs, study.rows)
    analysis = analyze(runs, rows)
    lengths = code_lengths(streams, analysis.main)
    assert lengths is not None
    with drawn_texts(monkeypatch) as figures:
        draw_all(runs, analysis, tmp_path, lengths=lengths)
        if len(runs) <= 24:
            draw_all(runs, analysis, tmp_path, narrow=True, lengths=lengths)
        else:
            # A narrow figure with many panels differs only by their number, except for these figures.
            with drawing(narrow=True):
                resemblance(analysis, tmp_path)
                draw_code_lengths(lengths, tmp_path)
    assert figures
    for figure, boxes in figures.items():
        assert overlaps(boxes) == []
        # No text is cut off at the edge of the figure.
        width, height = figure.get_size_inches() * figure.dpi
        outside = [
            text
            for text, box in boxes.values()
            if box.x0 < -1 or box.x1 > width + 1 or box.y0 < -1 or box.y1 > height + 1
        ]
        assert outside == []


def test_overlapping_texts_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure()
    figure.text(0.5, 0.5, "some words")
    figure.text(0.51, 0.5, "other words")
    with drawn_texts(monkeypatch) as figures:
        figure.draw_without_rendering()
    assert overlaps(figures[figure]) == [("some words", "other words")]


def test_a_label_is_short_and_keeps_its_ends() -> None:
    text = label("lstm (" + ", ".join(f"key_{i} {i}" for i in range(30)) + ")")
    lines = text.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 26
    assert lines[0].startswith("lstm (key_0 0")
    assert lines[2].endswith("key_29 29)")
