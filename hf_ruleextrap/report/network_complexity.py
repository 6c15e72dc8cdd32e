"""What is complex for a network: the prequential code length of each language for each architecture."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import TypeGuard

import numpy as np

from hf_ruleextrap.sweep.grid import key_of
from hf_ruleextrap.train.recipe import Recipe

from .analysis import LANGUAGE_CAUSES, cause_of
from .combinations import Combination
from .record import Run
from .rows import architectures, language_of
from .statistics import Correlation, Spread, corrected, rank_correlation

TAGS = ("star-free", "C-RASP")
"""The tags of languages that are correlated with the excess, as 0 and 1, beside level and measures."""

OOD_RATE = "OOD rate"
"""The cause in the correlation with the OOD rate of the runs of a study that have learned the language."""

STREAM_LENGTH = "share of the stream"
"""The setting of a stability that compares the beginning of each stream with the whole stream."""

LEAST_BITS = 1.0
"""The excess that takes the place of a smaller one, which noise can bring about and which has no logarithm."""

_REFERENCES = Path(__file__).with_name("code_lengths.json")
_SHARES = {"1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "1": 1.0}
# These keys do not belong to the settings of an architecture.
_NO_SETTINGS = {"language", "seed", "settings_tried", "eval_steps"}

Cells = dict[tuple[str, str], Spread]
"""The excess in bits over seeds, by (language, architecture)."""


@dataclass(frozen=True)
class Stability:
    """The excess of several languages at several values of one setting of an architecture.

    Attributes:
        architecture: The name of the architecture.
        setting: The key of the recipe, or `STREAM_LENGTH`.
        excess: The mean excess over seeds in bits, by value of the setting and by language. All values have the same
            languages.
    """

    architecture: str
    setting: str
    excess: Mapping[str, Mapping[str, float]]

    @property
    def languages(self) -> list[str]:
        """The languages."""
        return list(next(iter(self.excess.values())))

    @property
    def same_order(self) -> float:
        """The share of equal orders, over all pairs of languages and all pairs of values of the setting."""
        pairs = list(itertools.combinations(self.languages, 2))
        agreements = [
            (first[a] < first[b]) == (second[a] < second[b])
            for first, second in itertools.combinations(self.excess.values(), 2)
            for a, b in pairs
        ]
        return mean(agreements)


@dataclass(frozen=True)
class CodeLengths:
    """The excess code length of each language for each architecture, in bits.

    Attributes:
        runs: The runs on streams with the main settings of their architecture.
        languages: The languages, the easiest first, by their effect on the logarithm of the excess.
        architectures: The architectures.
        spreads: The mean and the spread of the excess over seeds.
        rates: The mean OOD rate of the learned runs of the same study by (language, architecture).
        correlations: The rank correlation over languages of the excess of an architecture with a cause, by
            (architecture, cause). A cause is ``level``, a measure of complexity, a tag, `OOD_RATE`, or the name of
            another architecture, whose excess is correlated.
        stabilities: The excess at several values of one setting, for each setting that has several.
        others: The number of runs whose settings are not the main ones.
    """

    runs: Sequence[Run]
    languages: Sequence[str]
    architectures: Sequence[str]
    spreads: Cells
    rates: Mapping[tuple[str, str], float]
    correlations: Mapping[tuple[str, str], Correlation]
    stabilities: Sequence[Stability]
    others: int

    @cached_property
    def excess(self) -> dict[tuple[str, str], float]:
        """The mean excess over seeds by (language, architecture)."""
        return _means(self.spreads)


def code_lengths(runs: Sequence[Run], combinations: Sequence[Combination] = ()) -> CodeLengths | None:
    """Collect the code lengths of a study; None if it has no run on a stream.

    Args:
        runs: All runs of the study.
        combinations: The combinations of the runs on fixed words, whose OOD rates are correlated with the excess.
    """
    streams = [run for run in runs if run.code_length is not None]
    if not streams:
        return None
    names = architectures(run.recipe.architecture for run in streams)
    main = [run for name in names for run in _main_settings([r for r in streams if r.recipe.architecture == name])]
    spreads = {cell: Spread.over(values, rate=False) for cell, values in _by_cell(main).items()}
    excess = _means(spreads)
    rates_of_runs: dict[tuple[str, str], list[float]] = {}
    for each in combinations:
        for run in each.learned:
            if run.ood_rate is not None:
                rates_of_runs.setdefault((each.language, each.model[0]), []).append(run.ood_rate)
    rates = {cell: mean(values) for cell, values in rates_of_runs.items()}
    by_language = {run.recipe.language: run for run in main}
    correlations: dict[tuple[str, str], Correlation] = {}
    for name in names:
        for cause in (*LANGUAGE_CAUSES, *TAGS):
            known = {language: _property(run, cause) for language, run in by_language.items()}
            correlations[name, cause] = _correlation(excess, name, known)
        if rates:
            own_rates = {language: rates.get((language, name)) for language in by_language}
            correlations[name, OOD_RATE] = _correlation(excess, name, own_rates)
    for first, second in itertools.combinations(names, 2):
        other = {language: excess.get((language, second)) for language in by_language}
        correlations[first, second] = _correlation(excess, first, other)
    return CodeLengths(
        main,
        _by_difficulty(excess),
        names,
        spreads,
        rates,
        corrected(correlations),
        [*_stabilities(streams), *_over_stream_length(main)],
        len(streams) - len(main),
    )


def excess_bits(run: Run) -> float:
    """Return the excess of a run on a stream, in bits."""
    assert run.code_length is not None
    return run.code_length.excess_bits


def _by_cell(runs: Sequence[Run]) -> dict[tuple[str, str], list[float]]:
    by_cell: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        by_cell.setdefault((run.recipe.language, run.recipe.architecture), []).append(excess_bits(run))
    return by_cell


def _means(spreads: Cells) -> dict[tuple[str, str], float]:
    return {cell: spread.mean for cell, spread in spreads.items() if spread.mean is not None}


def _main_settings(runs: Sequence[Run]) -> list[Run]:
    """Return the runs of one architecture with the settings of most runs; among equals, those with the least excess."""
    return min(
        _grouped(runs, _NO_SETTINGS).values(),
        key=lambda group: (-len(group), mean(math.log(max(excess_bits(run), LEAST_BITS)) for run in group)),
    )


def _grouped(runs: Sequence[Run], ignored: set[str]) -> dict[str, list[Run]]:
    """Return groups of runs whose recipes differ in the ignored keys alone."""
    groups: dict[str, list[Run]] = {}
    ignoring = {key: Recipe.model_fields[key].get_default() for key in ignored}
    for run in runs:
        groups.setdefault(key_of(run.recipe.model_copy(update=ignoring)), []).append(run)
    return groups


def _by_difficulty(excess: Mapping[tuple[str, str], float]) -> list[str]:
    """Return the languages by their effect on the logarithm of the excess, the smallest first.

    The effects of languages and architectures add up (least squares), so that a language that was not measured for a
    cheap architecture does not count as harder. If no measurement is missing, the order is that of the mean logarithm.
    """
    languages, names = ([*dict.fromkeys(labels)] for labels in zip(*excess, strict=True))
    design = np.array(
        [
            [*(float(language == each) for each in languages), *(float(name == each) for each in names)]
            for language, name in excess
        ]
    )
    logs = np.log(np.maximum(list(excess.values()), LEAST_BITS))
    effects = np.linalg.lstsq(design, logs, rcond=None)[0]
    return sorted(languages, key=lambda language: (round(float(effects[languages.index(language)]), 9), language))


def _correlation(
    excess: Mapping[tuple[str, str], float], architecture: str, numbers: Mapping[str, float | None]
) -> Correlation:
    """Correlate the excess of an architecture with another number of each language, where both are known."""
    pairs = [
        (number, value)
        for (language, name), value in excess.items()
        if name == architecture and (number := numbers.get(language)) is not None
    ]
    return rank_correlation([number for number, _ in pairs], [value for _, value in pairs])


def _property(run: Run, cause: str) -> float | None:
    if cause not in TAGS:
        return cause_of(run, cause)
    language = language_of(run.recipe.language)
    # The tags are decided for regular languages; no other language is star-free.
    return None if language is None else float(cause in language.tags)


def crossed_correlation(lengths: CodeLengths) -> Correlation:
    """Correlate the excess with the OOD rate over all combinations; languages and architectures are crossed."""
    cells = [cell for cell in lengths.excess if cell in lengths.rates]
    languages, names = [language for language, _ in cells], [name for _, name in cells]
    return rank_correlation(
        [lengths.excess[cell] for cell in cells], [lengths.rates[cell] for cell in cells], factors=(languages, names)
    )


def _stabilities(streams: Sequence[Run]) -> Iterator[Stability]:
    """Yield the excess of the languages for each architecture and each setting that has several values."""
    for name in architectures(run.recipe.architecture for run in streams):
        runs = [run for run in streams if run.recipe.architecture == name]
        settings = [key for key in Recipe.model_fields if key not in {*_NO_SETTINGS, "output_dir", "architecture"}]
        for key in settings:
            if len({repr(getattr(run.recipe, key)) for run in runs}) > 1:
                largest = max(_grouped(runs, {*_NO_SETTINGS, key}).values(), key=len)
                excess: dict[str, dict[str, list[float]]] = {}
                for run in sorted(largest, key=lambda run: _sortable(getattr(run.recipe, key))):
                    by_language = excess.setdefault(_shown(getattr(run.recipe, key)), {})
                    by_language.setdefault(run.recipe.language, []).append(excess_bits(run))
                yield from _of_common_languages(name, key, excess)


def _of_common_languages(name: str, key: str, excess: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Stability]:
    """Return the stability over the languages that were measured at all values, if it compares anything."""
    several = {value: known for value, known in excess.items() if len(known) > 1}
    common = sorted(set.intersection(*map(set, several.values()))) if several else []
    if len(common) < 2 or len(several) < 2:
        return []
    means = {value: {language: mean(known[language]) for language in common} for value, known in several.items()}
    return [Stability(name, key, means)]


def _sortable(value: object) -> tuple[bool, float, str]:
    # Fields of a model, such as its width, are in the order of their numbers, after the preset.
    numbers = [part for part in (value.values() if isinstance(value, dict) else [value]) if _is_number(part)]
    return not _is_number(value), float(sum(numbers)), repr(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {part}" for key, part in value.items()) or "preset"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _over_stream_length(runs: Sequence[Run]) -> Iterator[Stability]:
    """Yield the excess of the languages after shares of the stream, for each architecture."""
    for name in architectures(run.recipe.architecture for run in runs):
        excess: dict[str, dict[str, list[float]]] = {share: {} for share in _SHARES}
        for run in (run for run in runs if run.recipe.architecture == name):
            assert run.code_length is not None
            tokens, nats = zip(*run.code_length.curve, strict=True) if run.code_length.curve else ((), ())
            for name_of_share, share in _SHARES.items() if len(tokens) >= len(_SHARES) else ():
                bits = (np.interp(share * tokens[-1], tokens, nats) + run.code_length.choice) / math.log(2)
                excess[name_of_share].setdefault(run.recipe.language, []).append(float(bits))
        yield from _of_common_languages(name, STREAM_LENGTH, excess)


def reference_excess(architecture: str) -> dict[str, float]:
    """Return the excess of the built-in languages in bits, as docs/results/languages reports them.

    The mapping is empty for an architecture that was not measured.
    """
    measured: dict[str, dict[str, float]] = json.loads(_REFERENCES.read_text(encoding="utf-8"))
    return measured.get(architecture, {})
