"""The figures of a report over training steps and over prompt lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_ruleextrap.evaluation.mass_plot import CELLS
from hf_ruleextrap.formal import Kind, WordBatch
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.languages import recorded_language
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import LengthRates

from .record import Run
from .rows import in_chomsky_order, variants
from .style import Model, Picture, looks, ordered, panels, plain, save, title_of, with_level

_KINDS = {"ood": "OOD", "id": "ID"}
_MEASURED = {"ood": "every open rule holds", "id": "a word of the language"}
# The largest number of strings that are listed to compute the optimum.
_MOST_STRINGS = 1 << 18
_FAINTEST = 1e-5


def dynamics(runs: Sequence[Run], folder: Path) -> Picture | str:
    """Draw the probability of the four cells over the training, as the mean over seeds, for each language and model."""
    groups = {key: group for key, group in _cells(runs).items() if all(run.recipe.mass_length for run in group)}
    if not groups:
        return "No figure of cell masses: no corrected recipe of this study has mass_length."
    languages = in_chomsky_order(language for language, _ in groups)
    models = ordered([model for _, model in groups])
    title = "Probability of all short words along the training"
    n = len(models)
    figure, axes = panels(len(languages) * n, title, x="optimizer step", width=2.1, height=1.75, columns=n)
    masses = {key: mean_masses(group) for key, group in groups.items()}
    least = max(_FAINTEST, min(float(values.min()) for _, cells in masses.values() for values in cells.values()))
    for i, panel in enumerate(axes):
        language, model = languages[i // len(models)], models[i % len(models)]
        if i < len(models):
            panel.set_title(title_of(model))
        if i % len(models) == 0:
            panel.set_ylabel(plain(language))
        group = groups.get((language, model))
        if group is None:
            panel.set_axis_off()
            continue
        steps, cells = masses[language, model]
        for cell, (label, colour, line) in CELLS.items():
            thick = 2.0 if cell == "both" else 1.3
            panel.plot(
                steps,
                np.maximum(cells[cell], _FAINTEST),
                line,
                color=colour,
                lw=thick,
                label=label if i == 0 else None,
            )
        best = optimum(group[0].recipe)
        if best is not None:
            panel.axhline(best, color="black", ls=(0, (1, 2)), lw=1)
        panel.set_yscale("log")
        panel.set_ylim(least / 2, 1.5)
        panel.locator_params(axis="x", nbins=3)
        panel.set_title(f"n = {len(group)}", loc="right", fontsize=7)
    axes[0].plot([], [], color="black", ls=(0, (1, 2)), lw=1, label="optimum of R1 and R2")
    figure.legend(loc="outside lower center", frameon=False, ncols=5)
    sizes = sorted({run.recipe.mass_length for group in groups.values() for run in group if run.recipe.mass_length})
    caption = (
        f"Exact probability of all words of up to {' or '.join(map(str, sizes))} symbols, by the rules that the words "
        "keep: the mean over n runs, at the steps that all runs have. The dotted line is the probability of the words "
        "of the language in the data; all other words have probability 0 there. Values below "
        f"{_FAINTEST:g} are drawn at {_FAINTEST:g}."
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


def lengths(runs: Sequence[Run], kind: Kind, folder: Path) -> Picture | str:
    """Draw the headline rate over the length of the prompt, a panel for each language and a line for each model."""
    groups = {key: group for key, group in _cells(runs).items() if any(_by_length(run, kind) for run in group)}
    if not groups:
        return f"No figure of {_KINDS[kind]} rate against length: no recipe of this study has by_length."
    languages = in_chomsky_order(language for language, _ in groups)
    models = ordered([model for _, model in groups])
    look = looks(models)
    title = f"{_KINDS[kind]} rate against the length of the prompt"
    figure, axes = panels(len(languages), title, x="symbols in the prompt", y=_MEASURED[kind])
    for panel, language in zip(axes, languages, strict=True):
        for model in models:
            group = groups.get((language, model))
            if group is None:
                continue
            rates = [{at.length: at.headline.rate for at in _by_length(run, kind)} for run in group]
            x, mean, low, high = _band(rates)
            style = look[model]
            panel.fill_between(x, low, high, color=style.colour, alpha=0.18, lw=0)
            panel.plot(x, mean, marker=style.marker, ls=style.line, color=style.colour, ms=4, lw=1.4)
        chance = [
            {at.length: at.chance.rate for at in _by_length(group[0], kind)}
            for (name, _), group in groups.items()
            if name == language
        ]
        x, mean, _, _ = _band(chance)
        panel.plot(x, mean, color="black", ls=":", lw=1)
        counts = sorted({len(group) for (name, _), group in groups.items() if name == language})
        panel.set_title(f"{with_level(language)}, n = {' or '.join(map(str, counts))}")
        panel.set_ylim(-0.03, 1.05)
    for model in models:
        style = look[model]
        axes[0].plot([], [], marker=style.marker, ls=style.line, color=style.colour, ms=4, label=title_of(model))
    axes[0].plot([], [], color="black", ls=":", lw=1, label="chance")
    figure.legend(loc="outside lower center", frameon=False, ncols=6)
    caption = (
        f"Rates over all {_KINDS[kind]} prompts of each length ({_MEASURED[kind]}). "
        "Lines are means over n runs; bands reach from the lowest run to the highest. The dotted line is chance."
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


def _by_length(run: Run, kind: Kind) -> list[LengthRates]:
    return [at for at in run.by_length if at.kind == kind]


def _cells(runs: Sequence[Run]) -> dict[tuple[str, Model], list[Run]]:
    """Return the corrected runs by language and model."""
    cells: dict[tuple[str, Model], list[Run]] = {}
    for language in in_chomsky_order(run.recipe.language for run in runs):
        plain = [run for run in runs if run.recipe.language == language and not run.recipe.paper]
        cells |= {(language, model): group for model, group in variants(plain).items()}
    return cells
