"""The figures of the claims, and of the authors' way. `curves` draws those over steps and lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ruleextrap.evaluation.references import CEILING, heading
from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.formal.measures import MEASURES
from hf_ruleextrap.formal.rational import LEARNERS

from .analysis import FEWEST_LANGUAGES, LANGUAGE_CAUSES, OUTCOMES, Analysis, Outcome, cause_of, outcomes
from .combinations import APART, FEWEST_RUNS, Combination, EqualLoss, mean_ends
from .curves import after_learning, by_length, dynamics, masses_after_learning, resemblance
from .network_complexity import CodeLengths
from .record import BASELINES, HEADLINE, Run
from .rows import SOURCES, Model, Row, architectures, in_chomsky_order
from .stream_section import draw_code_lengths
from .style import (
    GREY,
    LEARNER_MARKERS,
    LEARNER_STYLE,
    LINE_HEIGHT,
    SHADE,
    Look,
    Marks,
    Picture,
    drawing,
    learner_marks,
    legend,
    logarithmic,
    looks,
    model_marks,
    ordered,
    panels,
    save,
    title_of,
    with_level,
)
from .tables import correlation_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A loss at the floor, or below the floor because of the choice of test words, has no logarithm.
_LEAST_LOSS = 1e-4
# The axis is logarithmic if the ratio of the largest value to the smallest is larger than this number.
_WIDE = 30
# The largest number of models that each have a mark of their own.
_MOST_MODELS = 12
_OUTCOME_LABELS = {"way": "best baseline (0) to ceiling (1)", "learning time": "learning time [steps]"}
# The largest number of properties whose panels stand in one row.
_MOST_COLUMNS = 5
_PAIR_LINES = {
    "seed": ("seeds", "-"),
    "optimizer": ("optimizers", "--"),
    "architecture": ("architectures", "-."),
    "objective": ("objectives (control)", ":"),
}


def draw_all(
    runs: Sequence[Run], analysis: Analysis, folder: Path, *, narrow: bool = False, lengths: CodeLengths | None = None
) -> tuple[dict[str, Picture], list[str]]:
    """Draw all figures for which the study has data.

    Args:
        runs: The runs on fixed words.
        analysis: The statistics of the study.
        folder: The folder for the figures.
        narrow: Whether to draw the figures for the page of a phone, as SVG alone, and not as SVG, PDF and PNG.
        lengths: The code lengths of the study, if it has runs on streams.

    Returns:
        The figures by name, and a line for each figure without data.
    """
    of_claims = {run.key for combination in analysis.main for run in combination.runs}
    main = [run for run in runs if run.key in of_claims] or runs
    with drawing(narrow=narrow):
        drawn = [
            rates(analysis, folder),
            pairs(analysis, folder),
            complexities(analysis, folder),
            resemblance(analysis, folder),
            after_learning(analysis, folder),
            masses_after_learning(analysis, folder),
            dynamics(main, folder),
            *(by_length(main, kind, folder) for kind in ("ood", "id")),
            authors(analysis.rows, folder),
            *(draw_code_lengths(lengths, folder) if lengths is not None else ()),
        ]
    pictures = [picture for picture in drawn if isinstance(picture, Picture)]
    return {picture.name: picture for picture in pictures}, [line for line in drawn if isinstance(line, str)]


def rates(analysis: Analysis, folder: Path) -> Picture | str:
    """Draw the OOD rate of each run, with a panel for each language and a line for each model."""
    others = [
        row
        for row in analysis.rows
        if row.way == "corrected" and row.name and row.source not in SOURCES and HEADLINE in row.values
    ]
    if not analysis.main and not others:
        return "No figure of rates over all prompts: no run of a corrected recipe that trains on words alone is here."
    cells = {(each.language, each.model): each for each in analysis.main}
    languages = in_chomsky_order([*(language for language, _ in cells), *(row.language for row in others)])
    models = ordered([*(model for _, model in cells), *((row.name, row.variant) for row in others)])
    look = looks(models)
    learners = [name for name in LEARNERS if any(name in analysis.learner_rates(each) for each in languages)]
    names = [*map(title_of, models), *(["rational learners"] if learners else [])]
    title = "OOD prompts on which every open rule holds"
    figure, by_language, places = _panels_with_lines(languages, names, title, "OOD rate")
    for language, panel in by_language.items():
        for place, model in zip(places, models, strict=False):
            if (language, model) in cells:
                _runs(panel, place, cells[language, model], look[model])
            for row in (row for row in others if (row.language, row.name, row.variant) == (language, *model)):
                _other(panel, place, row, look[model])
        for learner, rate in analysis.learner_rates(language).items():
            panel.plot(rate, places[-1], marker=LEARNER_MARKERS[learner], **LEARNER_STYLE)
        _references(panel, analysis, language)
        panel.set_xlim(-0.03, 1.03)
        panel.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    unknown = any(run.learned is None for combination in analysis.main for run in combination.runs)
    marks: Marks = [
        ("a run that has learned", {"marker": "o", "color": "black", "ms": 4}),
        ("mean, 95 % interval", {"marker": "|", "ls": "-", "color": "black", "ms": 9}),
        ("not learned", {"marker": "x", "color": GREY, "ms": 4}),
        *([("unknown whether learned", {"marker": "+", "color": GREY, "ms": 5})] if unknown else []),
        ("up to the best baseline", {"marker": "s", "color": SHADE, "ms": 9}),
        (heading(CEILING), {"ls": "--", "color": "black", "lw": 1}),
        *learner_marks(learners),
    ]
    legend(figure, marks)
    caption = (
        "Share of all OOD prompts on which every open rule holds. Each coloured mark is a run that has learned its "
        "language; crosses are runs that have not, and are in no mean. The bar is the mean of the learned runs, "
        f"with its 95 % interval where they are at least {FEWEST_RUNS}. The shaded area ends at the best of chance, a "
        "completer that stops at once and n-grams; the dashed line is the ceiling."
    )
    if learners:
        caption += " The lowest line shows the greedy completions of three rational learners on the same prompts."
    return save(figure, Picture(folder, "rates", title, caption))


def _panels_with_lines(
    languages: Sequence[str], names: Sequence[str], title: str, x: str
) -> tuple[Figure, dict[str, Axes], list[float]]:
    """Return a figure with a line for each name, the panel of each language, and the place of each line.

    A place is the middle of the label's lines, from the top, in lines of text; each label has room for a mark.
    """
    heights = [max(2.0, name.count("\n") + 1.5) for name in names]
    places = [float(top + height / 2) for top, height in zip(np.cumsum([0.0, *heights]), heights, strict=False)]
    height = LINE_HEIGHT * (places[-1] + 2) + 1.0
    figure, axes = panels(len(languages), title, x=x, height=height, row_labels=names)
    for panel, language in zip(axes, languages, strict=True):
        panel.set_title(with_level(language))
        panel.set_yticks(places, names)
        panel.set_ylim(places[-1] + 1.2, -1.2)
    return figure, dict(zip(languages, axes, strict=True)), places


def _runs(panel: Axes, place: float, combination: Combination, look: Look) -> None:
    """Draw the runs of a combination as marks, one below another, and the mean of the learned ones."""
    for state, marker, colour in ((False, "x", GREY), (None, "+", GREY), (True, look.marker, look.colour)):
        values = [run.ood_rate for run in combination.runs if run.learned is state]
        offsets = np.linspace(-0.45, 0.45, len(values)) if len(values) > 1 else [0.0]
        for offset, value in zip(offsets, values, strict=False):
            if value is not None:
                style: dict[str, Any] = {
                    "color": colour,
                    "ms": 4,
                    "mew": 0.3 if state else 0.9,
                    "alpha": 0.85,
                    "zorder": 3,
                }
                panel.plot(value, place + offset, marker, **style)
    spread = combination.spread
    if spread.mean is None:
        return
    baseline, ceiling = mean_ends(combination.ways)
    panel.plot(baseline + spread.mean * (ceiling - baseline), place, "|", color="black", ms=10, mew=1.6, zorder=4)
    if combination.judged and spread.low is not None and spread.high is not None:
        low, high = (baseline + way * (ceiling - baseline) for way in (spread.low, spread.high))
        panel.plot([max(low, 0.0), min(high, 1.0)], [place, place], color="black", lw=1.3, zorder=4)


def _other(panel: Axes, place: float, row: Row, look: Look) -> None:
    """Draw the rate of another source with its interval over prompts, as far as the source has one."""
    intervals = [(rate.low, rate.high) for rate in row.rates.get(HEADLINE, ())]
    values = [rate.rate for rate in row.rates.get(HEADLINE, ())] or [row.values[HEADLINE].mean]
    for low, high in intervals:
        if low is not None and high is not None:
            panel.plot([low, high], [place, place], color="black", lw=1.3)
    for value in values:
        if value is not None:
            panel.plot(value, place, look.marker, color=look.colour, ms=5)


def _references(panel: Axes, analysis: Analysis, language: str) -> None:
    ways = [way for combination in analysis.main if combination.language == language for way in combination.ways]
    known = (analysis.reference_rate(language, name) for name in BASELINES)
    baselines = [way.baseline for way in ways] or [max((rate for rate in known if rate is not None), default=0.0)]
    panel.axvspan(-0.03, float(np.mean(baselines)), color=SHADE, lw=0, zorder=0)
    ceiling = analysis.reference_rate(language, CEILING)
    if ceiling is not None:
        panel.axvline(ceiling, color="black", ls="--", lw=1, zorder=1)


def pairs(analysis: Analysis, folder: Path) -> Picture | str:
    """Draw how far apart the OOD rates of pairs with equal loss are, and the runs of each language by loss and rate."""
    points = [
        (combination, max(run.excess, _LEAST_LOSS), rate)
        for combination in analysis.combinations
        for run in combination.learned
        if (rate := run.ood_rate) is not None and run.excess is not None and math.isfinite(run.excess)
    ]
    if not points:
        return "No figure of loss against rate: no run that has learned its language has both."
    models = ordered(combination.model for combination, _, _ in points)
    # A legend of more models is too long to read. Each mark then shows the architecture, hollow for other recipes.
    is_crowded = len(models) > _MOST_MODELS
    shown = [(name, "") for name in architectures(name for name, _ in models)] if is_crowded else models
    look = looks(shown)
    languages = in_chomsky_order(combination.language for combination, _, _ in points)
    kinds = [each for each in analysis.equal[1:] if each.pairs]
    title = "Equal loss, different behaviour"
    figure, axes = panels(len(languages) + bool(kinds), title)
    marks = model_marks(shown, look)
    if is_crowded:
        marks.append(("another recipe", {"marker": "o", "color": GREY, "mfc": "none", "ms": 5}))
    if kinds:
        marks += _shares(axes[0], kinds)
    losses = [loss for _, loss, _ in points]
    for panel, language in zip(axes[bool(kinds) :], languages, strict=True):
        for combination, loss, rate in points:
            if combination.language == language:
                name, variant = combination.model
                style = look[(name, "") if is_crowded else combination.model]
                face = "none" if is_crowded and variant else style.colour
                panel.plot(loss, rate, style.marker, color=style.colour, mfc=face, ms=4.5, alpha=0.85)
        panel.set(title=with_level(language), xlabel="excess loss [nats per token]", ylabel="OOD rate")
        panel.set_ylim(-0.05, 1.05)
        logarithmic(panel, "x", min(losses) / 1.5, max(losses) * 1.5)
    legend(figure, marks)
    caption = (
        "Each mark is a run that has learned its language. Runs above each other have the same loss and different OOD "
        f"rates. Losses less than {_LEAST_LOSS:g} above the entropy are drawn at {_LEAST_LOSS:g}."
    )
    if kinds:
        caption = (
            "The first panel shows, for pairs of runs with equal loss, the share of pairs whose OOD rates differ by at "
            f"most the value on the axis; the grey line marks {APART:g}. In the other panels, e" + caption[1:]
        )
    return save(figure, Picture(folder, "pairs", title, caption))


def _shares(panel: Axes, kinds: Sequence[EqualLoss]) -> Marks:
    """Draw the share of pairs against the difference between their OOD rates, and return the entries of the legend."""
    marks: Marks = []
    for each in kinds:
        apart = sorted(pair.apart for pair in each.pairs)
        shares = np.arange(len(apart) + 1) / len(apart)
        name, line = _PAIR_LINES[each.kinds[0]]
        panel.step([0, *apart, 1], [*shares, 1], where="post", ls=line, color="black", lw=1.4)
        marks.append((f"pairs over {name}", {"ls": line, "color": "black"}))
    panel.axvline(APART, color=GREY, lw=1)
    panel.set(title="all languages", xlabel="difference between OOD rates", ylabel="share of pairs")
    panel.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    return marks


def complexities(analysis: Analysis, folder: Path) -> Picture | str:
    """Draw the way and the learning time of each run against the level and the complexity of its language."""
    known = {cause for (_, cause), correlation in analysis.correlations.items() if correlation.value is not None}
    shown = [cause for cause in LANGUAGE_CAUSES if cause in known]
    drawn = [
        outcome
        for outcome in OUTCOMES
        if any(math.isfinite(value) for combination in analysis.main for _, value in outcomes(combination, outcome))
    ]
    if not shown or not drawn:
        return f"No figure of level and complexity: the figure needs learned runs of {FEWEST_LANGUAGES} languages."
    models = ordered(combination.model for combination in analysis.main)
    look = looks(models)
    title = "Level and complexity of the language against OOD rate and learning time"
    columns = len(shown) if len(shown) <= _MOST_COLUMNS else -(-len(shown) // 2)
    figure, axes = panels(len(shown) * len(drawn), title, width=2.6, columns=columns)
    grid = [(outcome, cause) for outcome in drawn for cause in shown]
    for i, (panel, (outcome, cause)) in enumerate(zip(axes, grid, strict=True)):
        _outcomes(panel, analysis, outcome, cause, look)
        correlation = correlation_text(analysis.correlations[outcome, cause])
        panel.set_title(rf"$\rho$ = {correlation}".replace(" (n", "\n(n"))
        if i % columns == 0 or cause == shown[0]:
            panel.set_ylabel(_OUTCOME_LABELS[outcome])
    marks = model_marks(models, look)
    marks.append(("never learned", {"marker": "x", "color": GREY, "ms": 4}))
    legend(figure, marks)
    caption = (
        "Each mark is a run. The titles give Spearman's rank correlation over the n languages, whose outcome is the "
        "mean rank of their runs among the runs of the same model, with its 95 % interval. Levels: "
        + "; ".join(f"{_short(level)}, {level}" for level in LEVELS)
        + "."
    )
    return save(figure, Picture(folder, "causes", title, caption))


def _outcomes(panel: Axes, analysis: Analysis, outcome: Outcome, cause: str, look: Mapping[Model, Look]) -> None:
    """Draw an outcome of each run against a property of its language."""
    points = [
        (combination.model, x, value)
        for combination in analysis.main
        for run, value in outcomes(combination, outcome)
        if (x := cause_of(run, cause)) is not None
    ]
    models = ordered(combination.model for combination in analysis.main)
    # Models stand beside each other, so that the marks of one language do not hide each other.
    width = 0.6 / len(models) if cause == "level" else 0.0
    shifts = {model: (i - (len(models) - 1) / 2) * width for i, model in enumerate(models)}
    finite = [value for _, _, value in points if math.isfinite(value)]
    latest = max(finite, default=1.0)
    for model, x, value in points:
        style = look[model]
        if math.isfinite(value):
            panel.plot(x + shifts[model], value, style.marker, color=style.colour, ms=4, alpha=0.75)
        else:
            panel.plot(x + shifts[model], 1.6 * latest, "x", color=GREY, ms=4)
    _axis(panel, cause, [x for _, x, _ in points])
    if outcome == "learning time":
        logarithmic(panel, "y", min(finite, default=1.0) / 1.3, 2 * latest)
    else:
        panel.set_ylim(min([-0.05, *finite]) - 0.05, 1.1)
        panel.axhline(0, color=GREY, lw=0.8)


def _axis(panel: Axes, cause: str, values: Sequence[float]) -> None:
    if cause == "level":
        panel.set_xticks(range(len(LEVELS)), [_short(level) for level in LEVELS])
        panel.set(xlabel="Chomsky level", xlim=(-0.6, len(LEVELS) - 0.4))
        return
    panel.set_xlabel(MEASURES[cause])
    if values and min(values) > 0 and max(values) > _WIDE * min(values):
        logarithmic(panel, "x", min(values) / 1.5, max(values) * 1.5)
    else:
        panel.locator_params(axis="x", nbins=4)


def _short(level: str) -> str:
    """Return the initials of a level of several words.

    >>> _short("deterministic context-free"), _short("regular")
    ('DCF', 'reg')
    """
    words = level.replace("-", " ").split()
    return "".join(word[0].upper() for word in words) if len(words) > 1 else level[:3]


def authors(rows: Sequence[Row], folder: Path) -> Picture | str:
    """Draw OOD R1 among finished completions: the authors' rates beside those of the reproduced recipes."""
    sources = {"authors": ("authors", "D", "white"), "best_check": ("ours, best check", "o", "black")}
    shown = [row for row in rows if row.way == "reproduced" and row.source in sources and "ood_r1" in row.values]
    languages = in_chomsky_order(row.language for row in shown if row.source == "best_check")
    if not languages:
        return "No figure of the reproduction: no run of an authors' recipe is in this study."
    names = architectures(row.name for row in shown)
    labels = [title_of((name, "")) for name in names]
    title = "OOD R1 in the authors' way: among finished completions, best check"
    figure, by_language, places = _panels_with_lines(languages, labels, title, "OOD R1")
    for language, panel in by_language.items():
        for row in (row for row in shown if row.language == language):
            _, marker, fill = sources[row.source]
            spread, place = row.values["ood_r1"], places[names.index(row.name)]
            place += -0.4 if row.source == "authors" else 0.4
            if spread.mean is None:
                panel.plot(0.0, place, "x", color=GREY, ms=5)
                continue
            style: dict[str, Any] = {"color": "black", "mfc": fill, "ms": 4.5, "lw": 1, "capsize": 2}
            panel.errorbar(spread.mean, place, xerr=spread.std or 0.0, fmt=marker, **style)
        panel.set_xlim(-0.15, 1.15)
    marks: Marks = [
        (name, {"marker": marker, "color": "black", "mfc": fill}) for name, marker, fill in sources.values()
    ]
    legend(figure, [*marks, ("no rate", {"marker": "x", "color": GREY})])
    caption = (
        "Mean and standard deviation over runs. White diamonds are the authors' published runs, and black dots are our "
        "runs of their recipes. Only completions that finished count, and each run counts with its best check. The "
        "table below gives the number of runs."
    )
    return save(figure, Picture(folder, "authors", title, caption))
