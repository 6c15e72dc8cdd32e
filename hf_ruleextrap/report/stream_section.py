"""The section of a report on code lengths: its sentences, tables and figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from hf_ruleextrap.errors import counted
from hf_ruleextrap.formal.measures import MEASURES

from .analysis import LANGUAGE_CAUSES
from .network_complexity import (
    LEAST_BITS,
    STREAM_LENGTH,
    CodeLengths,
    Stability,
    crossed_correlation,
    excess_bits,
)
from .rows import language_of
from .statistics import Correlation, Spread, power
from .style import (
    COLOURS,
    GREY,
    LINE_HEIGHT,
    ON_DARK,
    ON_LIGHT,
    Picture,
    is_narrow,
    label,
    label_width,
    legend,
    lines_of,
    logarithmic,
    logarithmic_ticks,
    looks,
    model_marks,
    panels,
    save,
    tick_names,
    title_of,
)
from .tables import (
    CORRELATION_HEADINGS,
    Cell,
    Line,
    Section,
    Table,
    correlation_cells,
    correlation_text,
    interval,
    number,
    unclear,
)

FEWEST_LANGUAGES = 5
"""The smallest number of languages for a sentence about what goes with the excess."""

EXPECTED_ORDER = ("aastar", "anbn", "a5")
"""Three languages whose excess was expected to rise in this order."""

METHOD = (
    "The excess is the prequential code length of a stream of fresh words less the code length of the language's own "
    "distribution: the network predicts each batch before it learns from the batch. The excess of a language is the "
    "mean over seeds, at the settings that most runs of the architecture share. The languages are in the order of "
    "their effect in a model in which the effects of language and architecture on the logarithm of the excess add up, "
    "so that a missing measurement does not change the order of the other languages. The rank correlations are over "
    "languages, with 95 % intervals from permutations and Holm's correction for all correlations of the table. The "
    "correlation with the OOD rate over all combinations permutes languages and architectures as a whole.",
)
"""The definitions of the section."""

_CAUSES = {"level": "the Chomsky level", **{name: title.split(" [")[0] for name, title in MEASURES.items()}}
_RELATED = 0.5
_MOST_NAMED_LINES = len(COLOURS)
_MOST_NARROW_COLUMNS = 5


def sentence(lengths: CodeLengths, architecture: str) -> str:
    """Return a sentence that names the properties of a language that go with the excess of an architecture."""
    own = {
        _CAUSES.get(cause, cause): correlation
        for (name, cause), correlation in lengths.correlations.items()
        if name == architecture and cause not in lengths.architectures
    }
    n = max(correlation.n for correlation in own.values())
    if n < FEWEST_LANGUAGES:
        return f"{architecture}: {counted(n, 'language')}, too few to say what goes with the excess."
    clear = [_named(name, correlation) for name, correlation in own.items() if correlation.is_significant]
    others = [name for name, each in own.items() if not each.is_significant and each.value is not None]
    if not clear:
        return f"{architecture}: of {len(own)} properties of {n} languages, nothing tested goes with the excess."
    return f"{architecture}: the excess goes with {', '.join(clear)}; not clearly with {', '.join(others) or 'others'}."


def _named(name: str, correlation: Correlation) -> str:
    numbers = [number(correlation.value), interval(correlation.low, correlation.high)]
    return f"{name} ({' '.join(filter(None, numbers))})"


def order_sentence(lengths: CodeLengths, architecture: str) -> str:
    """Return whether the excess of the languages of `EXPECTED_ORDER` rises in that order; empty if one is missing.

    The order of two languages is clear if the 95 % interval of their difference over common seeds excludes 0.
    """
    means = [lengths.excess.get((language, architecture)) for language in EXPECTED_ORDER]
    if None in means:
        return ""
    by_seed = {
        (run.recipe.language, run.recipe.seed): excess_bits(run)
        for run in lengths.runs
        if run.recipe.architecture == architecture
    }
    seeds = sorted({seed for language, seed in by_seed if all((each, seed) in by_seed for each in EXPECTED_ORDER)})
    steps = [
        Spread.over([by_seed[second, seed] - by_seed[first, seed] for seed in seeds], rate=False)
        for first, second in itertools.pairwise(EXPECTED_ORDER)
    ]
    numbers = ", ".join(f"{name} {value:,.0f}" for name, value in zip(EXPECTED_ORDER, means, strict=True))
    holds = all(first < second for first, second in itertools.pairwise(value for value in means if value is not None))
    if holds:
        clear = all(step.low is not None and step.low > 0 for step in steps)
    else:
        clear = any(step.high is not None and step.high < 0 for step in steps)
    verdict = f"the order {'holds' if holds else 'does not hold'}, {'clearly' if clear else 'not clearly'}"
    return f"{architecture}: {numbers}: {verdict} ({counted(len(seeds), 'common seed')})."


def stability_sentences(stabilities: Sequence[Stability]) -> list[str]:
    """Return a sentence for each setting on how often two languages keep their order."""
    sentences = []
    for setting in dict.fromkeys(each.setting for each in stabilities):
        of_setting = [each for each in stabilities if each.setting == setting]
        languages = max(len(each.languages) for each in of_setting)
        sentences.append(
            f"Two languages have the same order at two values of {setting} in "
            f"{100 * mean(each.same_order for each in of_setting):.0f} % of all comparisons "
            f"({counted(len(of_setting), 'architecture')}, at most {counted(languages, 'language')})."
        )
    return sentences


def code_length_section(lengths: CodeLengths) -> Section:
    """Return the section on code lengths."""
    paragraphs = [
        "The excess is the number of bits that a network pays to predict a stream of fresh words, each batch before it "
        "is learned from, beyond what the language's own distribution pays (prequential code length).",
        *(sentence(lengths, name) for name in lengths.architectures),
    ]
    if len(lengths.languages) >= FEWEST_LANGUAGES:
        chance = power(tuple(range(len(lengths.languages))), _RELATED)
        paragraphs.append(
            f"A study of {counted(len(lengths.languages), 'language')} finds a true correlation of {_RELATED} with "
            f"probability {chance:.2f} (one question, without correction)."
        )
    if between := [
        f"{name} and {cause} {correlation_text(correlation)}"
        for (name, cause), correlation in lengths.correlations.items()
        if cause in lengths.architectures and correlation.n > 2
    ]:
        paragraphs.append(f"Rank correlations between architectures: {'; '.join(between)}.")
    if orders := [text for name in lengths.architectures if (text := order_sentence(lengths, name))]:
        paragraphs.append(f"The expected order of the excess is {' < '.join(EXPECTED_ORDER)}. {' '.join(orders)}")
    if common := [cell for cell in lengths.excess if cell in lengths.rates]:
        paragraphs.append(
            "The rank correlation of the excess with the OOD rate of learned runs, over "
            f"{counted(len(common), 'combination')} of a language and an architecture, is "
            f"{correlation_text(crossed_correlation(lengths))}."
        )
    paragraphs += stability_sentences(lengths.stabilities)
    tables = [_table(lengths)]
    tables += [_correlation_table(lengths)] if any(each.n > 2 for each in lengths.correlations.values()) else []
    tables += [_stability_table(lengths.stabilities)] if lengths.stabilities else []
    figures = ["code-lengths", "excess-and-rates", "stability"]
    return Section("What is complex for a network", paragraphs, tables=tables, figures=figures)


def _table(lengths: CodeLengths) -> Table:
    lines = []
    for name in lengths.languages:
        language = language_of(name)
        cells = [_bits(lengths.spreads.get((name, architecture))) for architecture in lengths.architectures]
        texts = [name, language.level if language else "unknown", _tags(name)]
        lines.append(Line("", [*map(Cell, texts), *cells]))
    n = [spread.n for spread in lengths.spreads.values()]
    seeds = counted(n[0], "seed") if len(set(n)) == 1 else f"{min(n)} to {max(n)} seeds"
    caption = (
        f"Excess in bits: the mean over {seeds}{', ± standard deviation' if max(n) > 1 else ''}; the easiest language "
        "first. The excess contains the price of choosing the settings. A dash stands for a combination without a run."
    )
    if lengths.others:
        caption += f" {counted(lengths.others, 'run has')} other settings and {'is' if lengths.others == 1 else 'are'} "
        caption += "not in this table."
    headings = ["language", "level", "tags", *lengths.architectures]
    return Table("code-lengths", "Excess code length", caption, headings, lines, text_columns=3)


def _tags(name: str) -> str:
    language = language_of(name)
    return ", ".join(language.tags) if language else ""


def _bits(spread: Spread | None) -> Cell:
    if spread is None or spread.mean is None:
        return Cell("-")
    ends = "" if spread.low is None else f"[{spread.low:,.0f}, {spread.high:,.0f}]"
    return Cell(f"{spread.mean:,.0f}" + ("" if spread.std is None else f" ± {spread.std:,.0f}"), ends)


def _correlation_table(lengths: CodeLengths) -> Table:
    lines = []
    for (architecture, cause), correlation in lengths.correlations.items():
        names = [Cell(architecture), Cell(_CAUSES.get(cause, cause))]
        cells = [*names, *correlation_cells(correlation), Cell(_verdict(correlation))]
        lines.append(Line("ours" if cause == LANGUAGE_CAUSES[0] else "", cells))
    caption = (
        "Spearman's rank correlation over n languages of the excess of an architecture with a property of the "
        "language, with the OOD rate of its learned runs, or with the excess of another architecture. The corrected p "
        "has Holm's correction for all lines. A correlation is clear if its corrected p is at most 0.05."
    )
    headings = ["excess of", "with", *CORRELATION_HEADINGS, "verdict"]
    return Table("code-length-correlations", "What goes with the excess", caption, headings, lines, text_columns=2)


def _verdict(correlation: Correlation) -> str:
    """Return whether a correlation is clear, with the reason where it is not."""
    if correlation.value is None:
        return correlation_text(correlation)
    return "clear" if correlation.is_significant else unclear(correlation)


def _stability_table(stabilities: Sequence[Stability]) -> Table:
    lines = []
    for each in stabilities:
        texts = [each.architecture, each.setting, ", ".join(each.excess), str(len(each.languages))]
        lines.append(Line("", [*map(Cell, texts), Cell(f"{100 * each.same_order:.0f} %")]))
    caption = (
        "The share of equal orders, over all pairs of languages and all pairs of values of the setting. "
        f"The {STREAM_LENGTH} compares the excess after the first tokens of each stream with that of the whole stream."
    )
    headings = ["architecture", "setting", "values", "languages", "same order"]
    return Table("stability", "How stable the order of the languages is", caption, headings, lines, text_columns=3)


def draw_code_lengths(lengths: CodeLengths, folder: Path) -> list[Picture]:
    """Draw the figures of the section for which the study has data."""
    pictures = [heat_map(lengths, folder)]
    if any(cell in lengths.rates for cell in lengths.excess):
        pictures.append(excess_and_rates(lengths, folder))
    return [*pictures, stability(lengths.stabilities, folder)] if lengths.stabilities else pictures


def heat_map(lengths: CodeLengths, folder: Path) -> Picture:
    """Draw the excess of each language for each architecture, on a logarithmic scale of colours, with the tags."""
    from matplotlib.colors import LogNorm

    rows, columns = lengths.languages, lengths.architectures
    values = np.array([[lengths.excess.get((row, column), math.nan) for column in columns] for row in rows])
    shown = np.maximum(values, LEAST_BITS)
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    title = "Excess code length in bits"
    names = [label(row, label_width()) for row in rows]
    # A narrow figure has room for a few architectures beside each other.
    most = _MOST_NARROW_COLUMNS if is_narrow() else len(columns)
    starts = range(0, len(columns), most)
    room = 2.0 if is_narrow() else max(2.5, 0.95 * len(columns))
    texts, rotation, below = tick_names(columns, room)
    height = 1.0 + below + (0.07 + LINE_HEIGHT * lines_of(names)) * len(rows)
    figure, panels_of_blocks = panels(len(starts), title, width=3.6 + room, height=height, columns=1)
    for axes, start in zip(panels_of_blocks, starts, strict=True):
        block = slice(start, start + most)
        image = axes.imshow(shown[:, block], norm=LogNorm(low / 1.1, high * 1.1), cmap="viridis", aspect="auto")
        axes.set_xticks(range(len(texts[block])), texts[block], rotation=rotation)
        axes.set_yticks(range(len(rows)), names)
        # Nor has it room for the tags.
        if not is_narrow():
            tags = axes.secondary_yaxis("right")
            tags.set_yticks(range(len(rows)), map(_tags, rows))
            tags.tick_params(length=0, labelsize=7, labelcolor=GREY)
            tags.spines["right"].set_visible(False)
        for (row, column), value in np.ndenumerate(values[:, block]):
            if math.isfinite(value):
                colour = ON_DARK if max(value, LEAST_BITS) < math.sqrt(low * high) else ON_LIGHT
                axes.text(column, row, f"{value:,.0f}", ha="center", va="center", color=colour, fontsize=7)
    place: dict[str, Any] = {"location": "bottom", "aspect": 40, "shrink": 0.8, "pad": 0.02}
    bar = figure.colorbar(image, ax=panels_of_blocks, label="bits", **place)
    logarithmic_ticks(bar.ax.xaxis, low / 1.1, high * 1.1)
    caption = (
        "Excess of the prequential code length over the code length of the language's own distribution: what an "
        "architecture pays to learn the language. The easiest language is at the top; the tags of each language stand "
        "beside its line, where the figure is wide. An empty field is a combination without a run."
    )
    return save(figure, Picture(folder, "code-lengths", title, caption))


def excess_and_rates(lengths: CodeLengths, folder: Path) -> Picture:
    """Draw the excess of each language against its OOD rate, with a panel for each architecture."""
    cells = [cell for cell in lengths.excess if cell in lengths.rates]
    names = [name for name in lengths.architectures if any(name == other for _, other in cells)]
    languages = [language for language in lengths.languages if any(language == other for other, _ in cells)]
    # Languages take the looks of models here, so that marks and legend need no text beside the marks.
    marks = [(language, "") for language in languages]
    look = looks(marks)
    title = "Excess code length and OOD rate"
    figure, axes = panels(len(names), title, x="excess [bits]", y="OOD rate", width=2.6, columns=4)
    bits = {cell: max(lengths.excess[cell], LEAST_BITS) for cell in cells}
    for panel, architecture in zip(axes, names, strict=True):
        for language, name in cells:
            if name == architecture:
                style = look[language, ""]
                rate = lengths.rates[language, name]
                panel.plot(bits[language, name], rate, style.marker, color=style.colour, ms=5)
        panel.set_title(title_of((architecture, "")))
        logarithmic(panel, "x", min(bits.values()) / 1.3, max(bits.values()) * 1.3)
        panel.set_ylim(-0.05, 1.08)
    legend(figure, model_marks(marks, look))
    caption = (
        "Each mark is a language: the excess over seeds on streams, and the mean OOD rate of the runs of the same "
        "architecture on fixed words that have learned the language."
    )
    return save(figure, Picture(folder, "excess-and-rates", title, caption))


def stability(stabilities: Sequence[Stability], folder: Path) -> Picture:
    """Draw the excess of each language at each value of a setting, a panel for each architecture and setting."""
    languages = list(dict.fromkeys(language for each in stabilities for language in each.languages))
    named = languages if len(languages) <= _MOST_NAMED_LINES else []
    columns = max(sum(each.setting == other.setting for other in stabilities) for each in stabilities)
    title = "The order of the languages at other settings"
    ticks = [tick_names(list(each.excess), 2.0) for each in stabilities]
    height = 2.3 + max(below for _, _, below in ticks)
    figure, axes = panels(len(stabilities), title, y="excess [bits]", width=2.6, height=height, columns=min(columns, 4))
    for panel, each, (texts, rotation, _) in zip(axes, stabilities, ticks, strict=True):
        for language in each.languages:
            bits = [max(values[language], LEAST_BITS) for values in each.excess.values()]
            colour = COLOURS[named.index(language)] if named else GREY
            style: dict[str, Any] = {"color": colour, "lw": 1.4 if named else 0.7, "ms": 3.5 if named else 2}
            panel.plot(range(len(bits)), bits, "-o", **style)
        panel.set_xticks(range(len(texts)), texts, rotation=rotation)
        panel.set(xlabel=each.setting, xlim=(-0.3, len(each.excess) - 0.7))
        panel.set_title(f"{title_of((each.architecture, ''))}\nsame order: {100 * each.same_order:.0f} %")
        values = [max(bits, LEAST_BITS) for known in each.excess.values() for bits in known.values()]
        logarithmic(panel, "y", min(values) / 1.3, max(values) * 1.3)
    if named:
        legend(figure, [(label(name), {"ls": "-", "marker": "o", "color": COLOURS[i]}) for i, name in enumerate(named)])
    caption = (
        "Each line is a language. Where two lines cross, the order of the two languages depends on the setting. The "
        "titles give the share of equal orders, over all pairs of languages and all pairs of values."
    )
    return save(figure, Picture(folder, "stability", title, caption))
