"""What is complex for a network: the prequential code length of each language for each architecture."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from hf_ruleextrap.formal.measures import MEASURES

from .analysis import LANGUAGE_CAUSES, cause_of
from .record import Run
from .rows import architectures, language_of
from .statistics import LEVEL, Correlation, holm, power, rank_correlation
from .style import Picture, panels, save
from .tables import CORRELATION_HEADINGS, Cell, Line, Section, Table, correlation_cells, count, interval, number

FEWEST_LANGUAGES = 5
"""The smallest number of languages for a sentence about what goes with the excess."""

TAGS = ("star-free", "C-RASP")
"""The tags of languages that are correlated with the excess, as 0 and 1, beside level and measures."""

_REFERENCES = Path(__file__).with_name("code_lengths.json")
_CAUSES = {"level": "the Chomsky level", **{name: title.split(" [")[0] for name, title in MEASURES.items()}}
_RELATED = 0.5
_LEAST_BITS = 1.0


@dataclass(frozen=True)
class Association:
    """The rank correlation of the excess of one architecture with a property of the language.

    Attributes:
        architecture: the name of the architecture.
        cause: ``level``, a measure of complexity, a tag, or the name of another architecture.
        correlation: over languages; the excess of a language is the mean over its seeds.
        corrected: the p-value after Holm's correction for all associations.
    """

    architecture: str
    cause: str
    correlation: Correlation
    corrected: float | None = None

    @property
    def name(self) -> str:
        """The name of the cause in a sentence."""
        return _CAUSES.get(self.cause, self.cause)

    @property
    def is_clear(self) -> bool:
        """Whether the correlation is significant after the correction."""
        return self.corrected is not None and self.corrected <= LEVEL


@dataclass(frozen=True)
class CodeLengths:
    """The excess code length of each language for each architecture, in bits.

    Attributes:
        runs: the runs on streams.
        languages: the languages, those with the smallest mean excess first.
        architectures: the architectures.
        excess: the mean excess over seeds by (language, architecture).
        associations: with level, measures, tags and other architectures.
    """

    runs: Sequence[Run]
    languages: Sequence[str]
    architectures: Sequence[str]
    excess: dict[tuple[str, str], float]
    associations: Sequence[Association]


def code_lengths(runs: Sequence[Run]) -> CodeLengths | None:
    """Collect the code lengths of a study; None if it has no run on a stream.

    Runs of one architecture with different settings count as seeds: a grid fixes the settings beforehand.
    """
    streams = [run for run in runs if run.code_length is not None]
    if not streams:
        return None
    by_cell: dict[tuple[str, str], list[float]] = {}
    for run in streams:
        assert run.code_length is not None
        cell = run.recipe.language, run.recipe.architecture
        by_cell.setdefault(cell, []).append(run.code_length.excess_bits)
    excess = {cell: mean(values) for cell, values in by_cell.items()}
    names = architectures(architecture for _, architecture in excess)
    languages = sorted(
        {language for language, _ in excess},
        key=lambda language: mean(value for (name, _), value in excess.items() if name == language),
    )
    lengths = {run.recipe.language: run for run in streams}
    associations = [
        Association(name, cause, _correlation(excess, name, cause, lengths))
        for name in names
        for cause in (*LANGUAGE_CAUSES, *TAGS)
    ]
    associations += [Association(a, b, _between(excess, a, b)) for a, b in itertools.combinations(names, 2)]
    corrected = holm([association.correlation.p for association in associations])
    associations = [replace(association, corrected=p) for association, p in zip(associations, corrected, strict=True)]
    return CodeLengths(streams, languages, names, excess, associations)


def _correlation(
    excess: dict[tuple[str, str], float], architecture: str, cause: str, runs: dict[str, Run]
) -> Correlation:
    pairs = [
        (value, property_)
        for (language, name), value in excess.items()
        if name == architecture and (property_ := _property(runs[language], cause)) is not None
    ]
    values, properties = zip(*pairs, strict=True) if pairs else ((), ())
    return rank_correlation(properties, values)


def _property(run: Run, cause: str) -> float | None:
    if cause not in TAGS:
        return cause_of(run, cause)
    language = language_of(run.recipe.language)
    # The tags are decided for regular languages; no other language is star-free.
    return None if language is None else float(cause in language.tags)


def _between(excess: dict[tuple[str, str], float], first: str, second: str) -> Correlation:
    common = [language for language, name in excess if name == first and (language, second) in excess]
    return rank_correlation(*([excess[language, name] for language in common] for name in (first, second)))


def sentence(lengths: CodeLengths, architecture: str) -> str:
    """Return a sentence that names the properties of a language that go with the excess of an architecture."""
    own = [a for a in lengths.associations if a.architecture == architecture and a.cause not in lengths.architectures]
    n = max(a.correlation.n for a in own)
    if n < FEWEST_LANGUAGES:
        return f"{architecture}: {count(n, 'language')}, too few to say what goes with the excess."
    clear = [_named(a) for a in own if a.is_clear]
    others = [a.name for a in own if not a.is_clear and a.correlation.value is not None]
    if not clear:
        return f"{architecture}: of {len(own)} properties of {n} languages, nothing tested goes with the excess."
    return f"{architecture}: the excess goes with {', '.join(clear)}; not clearly with {', '.join(others) or 'others'}."


def _named(association: Association) -> str:
    correlation = association.correlation
    numbers = [number(correlation.value), interval(correlation.low, correlation.high)]
    return f"{association.name} ({' '.join(filter(None, numbers))})"


def reference_excess(architecture: str) -> dict[str, float]:
    """Return the excess of the built-in languages in bits, as docs/results/languages reports them.

    The mapping is empty for an architecture that was not measured.
    """
    measured: dict[str, dict[str, float]] = json.loads(_REFERENCES.read_text(encoding="utf-8"))
    return measured.get(architecture, {})


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
            f"A study of {count(len(lengths.languages), 'language')} finds a true correlation of {_RELATED} with "
            f"probability {chance:.2f} (one question, without correction)."
        )
    return Section(
        "What is complex for a network",
        paragraphs,
        tables=[_table(lengths), _association_table(lengths)],
        figures=["code-lengths"],
    )


def _table(lengths: CodeLengths) -> Table:
    lines = []
    for name in lengths.languages:
        language = language_of(name)
        tags = ", ".join(language.tags) if language is not None else ""
        cells = [
            "-" if (value := lengths.excess.get((name, architecture))) is None else f"{value:,.0f}"
            for architecture in lengths.architectures
        ]
        lines.append(
            Line("", [Cell(name), Cell(language.level if language else "unknown"), Cell(tags), *map(Cell, cells)])
        )
    seeds = max(len([r for r in lengths.runs if r.recipe.language == name]) for name in lengths.languages)
    caption = (
        f"Excess in bits, the mean over seeds ({count(seeds, 'run')} of a language at most); languages with the "
        "smallest mean excess first. The excess contains the price of choosing the settings."
    )
    headings = ["language", "level", "tags", *lengths.architectures]
    return Table("code-lengths", "Excess code length", caption, headings, lines, text_columns=3)


def _association_table(lengths: CodeLengths) -> Table:
    lines = []
    for association in lengths.associations:
        names = [Cell(association.architecture), Cell(association.name)]
        cells = correlation_cells(association.correlation, association.corrected)
        lines.append(Line("ours" if association.cause == LANGUAGE_CAUSES[0] else "", [*names, *cells]))
    caption = (
        "Spearman's rank correlation over n languages of the excess of an architecture with a property of the "
        "language, or with the excess of another architecture. The corrected p has Holm's correction for all lines."
    )
    headings = ["excess of", "with", *CORRELATION_HEADINGS]
    return Table("code-length-correlations", "What goes with the excess", caption, headings, lines, text_columns=2)


def heat_map(lengths: CodeLengths, folder: Path) -> Picture:
    """Draw the excess of each language for each architecture, on a logarithmic scale of colours."""
    import numpy as np
    from matplotlib.colors import LogNorm

    rows, columns = lengths.languages, lengths.architectures
    values = np.array([[lengths.excess.get((row, column), math.nan) for column in columns] for row in rows])
    # An excess near 0 or below, which noise can bring about, has no logarithm.
    shown = np.maximum(values, _LEAST_BITS)
    title = "Excess code length in bits"
    figure, (axes,) = panels(1, title, width=2.4 + 0.7 * len(columns), height=0.9 + 0.22 * len(rows))
    image = axes.imshow(shown, norm=LogNorm(), cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    middle = math.sqrt(np.nanmin(shown) * np.nanmax(shown))
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            colour = "white" if shown[row, column] < middle else "black"
            axes.text(column, row, f"{value:,.0f}", ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, ax=axes, label="bits")
    caption = (
        "Excess of the prequential code length over the code length of the language's own distribution: what an "
        "architecture pays to learn the language. Languages with the smallest mean excess first."
    )
    return save(figure, Picture(folder, "code-lengths", title, caption))
