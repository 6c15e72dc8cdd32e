"""The figures of a report over training steps, over prompt lengths, and of the nearest rational learners."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.evaluation.figures import CELLS
from hf_ruleextrap.evaluation.resemblance import draw_nearest
from hf_ruleextrap.formal import Kind, WordBatch
from hf_ruleextrap.formal.rational import LEARNERS
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.languages import recorded_language
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import LengthRates

from .analysis import Analysis
from .record import Run
from .rows import Model, corrected_runs, in_chomsky_order
from .style import (
    GREY,
    LEARNER_MARKERS,
    LEARNER_STYLE,
    LINE_HEIGHT,
    SHADE,
    Marks,
    Picture,
    label,
    label_width,
    learner_marks,
    legend,
    lines_of,
    logarithmic,
    looks,
    ordered,
    panels,
    save,
    title_of,
    with_level,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEASURED = {"ood": "every open rule holds", "id": "a word of the language"}
# The largest number of strings that are listed to compute the optimum.
_MOST_STRINGS = 1 << 18
_FAINTEST = 1e-5
_MAIN = "Only the recipes that answer the claims are shown."
_NOT_LEARNED = "A grey line is a model of which no run has learned the language. "
_SINCE_LEARNING = (
    "A thin line is a run, from the evaluation since which it has learned its language; a thick line is the mean of "
    "the runs of a model, at the steps that all of them have."
)


def resemblance(analysis: Analysis, folder: Path) -> Picture | str:
    """Draw how far each learned run is from each rational learner, and which learner is the nearest."""
    lines = [
        (f"{each.language}, {each.label}", run.resemblance)
        for each in analysis.main
        for run in each.learned
        if run.resemblance
    ]
    if not lines:
        return "No figure of the nearest rational learner: the report was made without --resemblance."
    title = "The rational learner that each network resembles"
    labels = [label(name, label_width()) for name in dict.fromkeys(name for name, _ in lines)]
    height = 0.9 + (0.1 + LINE_HEIGHT * lines_of(labels)) * len(labels)
    figure, (axes,) = panels(1, title, width=5.5, height=height, row_labels=labels)
    draw_nearest(lines, axes)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("divergence [nats]")
    means = [each.mean for _, divergences in lines for each in divergences if 0 < each.mean < math.inf]
    if means:
        logarithmic(axes, "x", min(means) / 1.3, max(means) * 1.3)
    # A legend within the panel is wider than the page of a phone.
    key = axes.get_legend()
    assert key is not None
    marks: Marks = [
        (text.get_text(), {"marker": handle.get_marker(), "color": handle.get_color()})
        for handle, text in zip(key.get_lines(), key.get_texts(), strict=True)
    ]
    key.remove()
    legend(figure, marks)
    caption = (
        "Each mark is the divergence of a rational learner's completions from those of a run that has learned its "
        "language, as the mean over OOD prompts: the smaller the divergence, the more the two resemble each other. "
        "The mark of the nearest learner is filled."
    )
    return save(figure, Picture(folder, "resemblance", title, caption))


def after_learning(analysis: Analysis, folder: Path) -> Picture | str:
    """Draw the OOD rate of each learned run from the step of learning on, and the mean of each model."""
    title = "OOD rate after learning"
    drawn = _since_learning(analysis, title, "OOD rate", Run.rates_since_learning)
    if drawn is None:
        return "No figure of the time after learning: no run has two evaluations after it had learned."
    figure, by_language, marks = drawn
    rates = {language: analysis.learner_rates(language) for language in by_language}
    for language, panel in by_language.items():
        panel.set_ylim(-0.03, 1.05)
        # The learners do not learn over these steps: their rates stand at the right edge.
        for learner, rate in rates[language].items():
            style = {**LEARNER_STYLE, "marker": LEARNER_MARKERS[learner], "transform": panel.get_yaxis_transform()}
            panel.plot(1.0, rate, clip_on=False, **style)
    learners = [learner for learner in LEARNERS if any(learner in known for known in rates.values())]
    legend(figure, marks + learner_marks(learners))
    caption = _SINCE_LEARNING
    caption += " The marks at the right edge are the rates of the rational learners." if learners else ""
    return save(figure, Picture(folder, "after_learning", title, caption))


def masses_after_learning(analysis: Analysis, folder: Path) -> Picture | str:
    """Draw the exact probability of the short words that keep R1 alone, from the step of learning on."""
    title = "Probability of short words that keep R1 alone, after learning"
    drawn = _since_learning(analysis, title, "probability", _r1_alone)
    if drawn is None:
        return "No figure of cell masses after learning: no learned run has mass_length in its recipe."
    figure, by_language, marks = drawn
    for panel in by_language.values():
        low, high = panel.get_ylim()
        logarithmic(panel, "y", max(low, _FAINTEST / 2), max(high, 10 * _FAINTEST))
    legend(figure, marks)
    caption = f"{_SINCE_LEARNING} Values below {_FAINTEST:g} are drawn at {_FAINTEST:g}."
    return save(figure, Picture(folder, "masses_after_learning", title, caption))


def _r1_alone(run: Run) -> dict[int, float]:
    return {step: max(masses.only_r1, _FAINTEST) for step, masses in run.masses_since_learning().items()}


def _since_learning(
    analysis: Analysis, title: str, y: str, curve_of: Callable[[Run], dict[int, float]]
) -> tuple[Figure, dict[str, Axes], Marks] | None:
    """Draw a curve of each learned run over the steps since learning, and the mean of each model.

    Returns:
        The figure, the panel of each language, and the entries of the legend; None without a curve of two steps.
    """
    curves = {
        (combination.language, combination.model): known
        for combination in analysis.main
        if (known := [curve for run in combination.learned if len(curve := curve_of(run)) > 1])
    }
    if not curves:
        return None
    languages = in_chomsky_order(language for language, _ in curves)
    models = ordered(model for _, model in curves)
    look = looks(models)
    figure, axes = panels(len(languages), title, x="steps after learning", y=y)
    for panel, language in zip(axes, languages, strict=True):
        for model in models:
            style = look[model]
            known = curves.get((language, model), [])
            for curve in known:
                panel.plot(*zip(*curve.items(), strict=True), ls=style.line, color=style.colour, lw=0.6, alpha=0.45)
            steps, means = _common_mean(known)
            panel.plot(steps, means, ls=style.line, color=style.colour, lw=2.2)
        panel.set_title(with_level(language))
        panel.locator_params(axis="x", nbins=4)
    marks: Marks = [(title_of(model), {"ls": look[model].line, "color": look[model].colour}) for model in models]
    return figure, dict(zip(languages, axes, strict=True)), marks


def _common_mean(curves: Sequence[Mapping[int, float]]) -> tuple[list[int], list[float]]:
    """Return the steps that all curves have, and the mean of the curves at these steps."""
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    return steps, [float(np.mean([curve[step] for curve in curves])) for step in steps]


def dynamics(runs: Sequence[Run], folder: Path) -> Picture | str:
    """Draw the probability of the four cells over the training, as the mean over seeds, for each language and model.

    The runs of a mean have all learned the language; a panel in grey shows a model of which no run has learned it.
    """
    groups = _learned_first(runs, lambda run: bool(run.masses and run.recipe.mass_length))
    groups = {key: group for key, group in groups.items() if mean_masses(group)[0]}
    if not groups:
        return "No figure of cell masses: no run of a corrected recipe has recorded them (mass_length)."
    languages = in_chomsky_order(language for language, _ in groups)
    models = ordered([model for _, model in groups])
    keys = [(language, model) for language in languages for model in models if (language, model) in groups]
    title = "Probability of all short words along the training"
    columns = len(models) if len(models) < 6 else 5
    figure, axes = panels(len(keys), title, x="optimizer step", width=2.1, height=2.0, columns=columns, same_y=True)
    masses = {key: mean_masses(groups[key]) for key in keys}
    least = max(_FAINTEST, min(float(values.min()) for _, cells in masses.values() for values in cells.values()))
    for panel, key in zip(axes, keys, strict=True):
        language, model = key
        steps, cells = masses[key]
        for cell, (_, colour, line) in CELLS.items():
            thick = 2.0 if cell == "both" else 1.3
            panel.plot(steps, np.maximum(cells[cell], _FAINTEST), line, color=colour, lw=thick)
        best = optimum(groups[key][0].recipe)
        if best is not None:
            panel.axhline(best, color="black", ls=(0, (1, 2)), lw=1)
        learning = [run.learned_at for run in groups[key] if run.learned_at is not None]
        if learning:
            panel.axvspan(min(learning), max(learning), color=SHADE, zorder=0)
        logarithmic(panel, "y", least / 2, 1.5)
        panel.locator_params(axis="x", nbins=3)
        has_learned = groups[key][0].learned
        count = f"n = {len(groups[key])}" + ("" if has_learned else ", not learned")
        names = f"{label(language, 22)}\n{title_of(model, 22)}"
        panel.set_title(f"{names}\n{count}", color="black" if has_learned else GREY)
    marks: Marks = [(name, {"ls": line, "color": colour}) for name, colour, line in CELLS.values()]
    marks.append(("optimum of R1 and R2", {"ls": (0, (1, 2)), "color": "black"}))
    marks.append(("first to last step of learning", {"marker": "s", "color": SHADE, "ms": 8}))
    legend(figure, marks)
    sizes = sorted({run.recipe.mass_length for group in groups.values() for run in group if run.recipe.mass_length})
    caption = (
        f"Exact probability of all words of up to {' or '.join(map(str, sizes))} symbols, by the rules that the words "
        "keep: the mean over n runs that have learned the language, at the steps that all of them have. A grey title "
        "marks a model of which no run has learned the language. The shaded area reaches from the first to the last "
        "step since which a run has learned the language. The dotted line is the probability of the words of the "
        "language in the data; all other words have probability 0 there. Values below "
        f"{_FAINTEST:g} are drawn at {_FAINTEST:g}. {_MAIN}"
    )
    return save(figure, Picture(folder, "dynamics", title, caption))


def mean_masses(group: Sequence[Run]) -> tuple[list[int], dict[str, FloatArray]]:
    """Return the steps that all runs have, and the mean of each cell at these steps."""
    logs = [{masses.step: masses for masses in run.masses} for run in group]
    steps = sorted(set.intersection(*(set(log) for log in logs)))
    means = {cell: np.array([np.mean([getattr(log[step], cell) for log in logs]) for step in steps]) for cell in CELLS}
    return steps, means


def optimum(recipe: Recipe) -> float | None:
    """Return the data's probability of all words of at most ``mass_length`` symbols; None where it is unknown."""
    language = recorded_language(recipe.language, paper=recipe.paper)
    assert recipe.mass_length is not None
    if language is None:
        return None
    if not language.one_word_per_length and len(language.alphabet) ** recipe.mass_length > _MOST_STRINGS:
        return None
    words = list(language.words(min(recipe.mass_length, recipe.max_length)))
    known = language.log_probability(WordBatch.from_strings(words), recipe.max_length) if words else np.zeros(0)
    return None if known is None else float(np.exp(known).sum())


def by_length(runs: Sequence[Run], kind: Kind, folder: Path) -> Picture | str:
    """Draw the headline rate over the length of the prompt, a panel for each language and a line for each model."""
    groups = _learned_first(runs, lambda run: bool(_by_length(run, kind)))
    if kind == "ood":
        # OOD rates are those of runs that have learned, as everywhere in the report.
        groups = {key: group for key, group in groups.items() if group[0].learned}
    if not groups:
        reasons = {
            "ood": "run that has learned has by_length in its recipe",
            "id": "recipe of this study has by_length",
        }
        return f"No figure of {kind.upper()} rate against length: no {reasons[kind]}."
    languages = in_chomsky_order(language for language, _ in groups)
    models = ordered([model for _, model in groups])
    look = looks(models)
    title = f"{kind.upper()} rate against the length of the prompt"
    figure, axes = panels(len(languages), title, x="symbols in the prompt", y=_MEASURED[kind])
    for panel, language in zip(axes, languages, strict=True):
        for model in models:
            group = groups.get((language, model), [])
            rates = [{at.length: at.headline.rate for at in _by_length(run, kind)} for run in group]
            if rates:
                x, mean, low, high = _band(rates)
                style = look[model]
                colour = style.colour if group[0].learned else GREY
                panel.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
                panel.plot(x, mean, marker=style.marker, ls=style.line, color=colour, ms=4, lw=1.4)
        language_groups = [group for (name, _), group in groups.items() if name == language]
        chance = [{at.length: at.chance.rate for at in _by_length(group[0], kind)} for group in language_groups]
        x, mean, _, _ = _band(chance)
        panel.plot(x, mean, color="black", ls=":", lw=1)
        counts = sorted({len(group) for group in language_groups})
        panel.set_title(f"{with_level(language)}\nn = {' or '.join(map(str, counts))}")
        panel.set_ylim(-0.03, 1.05)
    marks: Marks = [
        (title_of(model), {"marker": look[model].marker, "ls": look[model].line, "color": look[model].colour, "ms": 4})
        for model in models
    ]
    legend(figure, [*marks, ("chance", {"ls": ":", "color": "black"})])
    caption = (
        f"Rates over all {kind.upper()} prompts of each length ({_MEASURED[kind]}). "
        "Lines are means over n runs that have learned the language; bands reach from the lowest run to the highest. "
        f"{_NOT_LEARNED if kind == 'id' else ''}The dotted line is chance. {_MAIN}"
    )
    return save(figure, Picture(folder, f"length_{kind}", title, caption))


def _band(runs: Sequence[dict[int, float | None]]) -> tuple[list[int], FloatArray, FloatArray, FloatArray]:
    """Return the lengths, and the mean, the minimum and the maximum over the runs that have a rate at each length."""
    known = {
        length: values
        for length in sorted(set().union(*runs))
        if (values := [rate for run in runs if (rate := run.get(length)) is not None])
    }
    parts = [np.array([get(values) for values in known.values()]) for get in (np.mean, np.min, np.max)]
    return list(known), parts[0], parts[1], parts[2]


def _learned_first(runs: Sequence[Run], has_data: Callable[[Run], bool]) -> dict[tuple[str, Model], list[Run]]:
    """Return the corrected runs with data by language and model: those that have learned the language.

    A group is of other runs only if no run with data has learned the language, so that no mean contains both.
    """
    with_data = {key: list(filter(has_data, group)) for key, group in corrected_runs(runs).items()}
    return {key: [run for run in group if run.learned] or group for key, group in with_data.items() if group}


def _by_length(run: Run, kind: Kind) -> list[LengthRates]:
    return [at for at in run.by_length if at.kind == kind]
