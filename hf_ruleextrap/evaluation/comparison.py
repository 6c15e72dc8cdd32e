"""Two models on the same prompts: the paired difference of each rate, and the prompts on which the two differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.completers.base import Completer
from hf_ruleextrap.errors import check_integer
from hf_ruleextrap.formal import Clusters, Kind, Language, Verdicts, WordBatch
from hf_ruleextrap.formal.words import FOREIGN_CODE, BoolArray

from .figures import COLOURS
from .references import Difference
from .table import KIND_NAMES, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 10
"""The largest number of prompts that the text output lists."""


@dataclass(frozen=True)
class PairedRate:
    """One rate of two models on the same prompts.

    Attributes:
        kind: The kind of the prompts.
        counted: The condition that the rate counts, for example ``every open rule holds``.
        both, only_first, only_second, neither: The number of prompts on which both models, only the first, only the
            second, or neither succeeds.
        difference: The rate of the first model less the rate of the second, with the 95 % interval for paired rates.
    """

    kind: Kind
    counted: str
    both: int
    only_first: int
    only_second: int
    neither: int
    difference: Difference

    @property
    def n(self) -> int:
        """The number of prompts."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def rates(self) -> tuple[float, float]:
        """The rates of the first and of the second model."""
        return (self.both + self.only_first) / self.n, (self.both + self.only_second) / self.n


@dataclass(frozen=True)
class DifferingPrompt:
    """A prompt after which one model succeeds and the other does not.

    Attributes:
        kind: The kind of the prompt. After an OOD prompt, a model succeeds if every open rule holds. After an ID
            prompt, a model succeeds if the prompt with the completion is a word of the language.
        prompt: The symbols of the prompt.
        completions: The completions of the first and of the second model. A completion that did not finish ends with
            ``…``.
        first_succeeds: Whether the first model succeeds, and not the second.
    """

    kind: Kind
    prompt: str
    completions: tuple[str, str]
    first_succeeds: bool


@dataclass(frozen=True)
class Comparison:
    """Two models on the same prompts of a language.

    Attributes:
        language: The name of the language.
        models: The names of the two models.
        max_new_symbols: The length limit of a completion.
        rates: The paired rates. The first rate of each kind of prompts counts success as `DifferingPrompt` defines it.
        prompts: The prompts on which the two models differ.
    """

    language: str
    models: tuple[str, str]
    max_new_symbols: int
    rates: tuple[PairedRate, ...]
    prompts: tuple[DifferingPrompt, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain dictionaries and numbers."""
        return asdict(self)


def compare(
    first: Completer,
    second: Completer,
    language: Language,
    *,
    models: tuple[str, str] = ("first", "second"),
    prompt_length: int | None = None,
    max_new_symbols: int,
    seed: int = 0,
) -> Comparison:
    """Complete the same prompts with two models, greedily, and compare prompt by prompt.

    Args:
        first: The first model.
        second: The second model.
        language: The language.
        models: The names of the models.
        prompt_length: The number of symbols in a prompt; by default the language's.
        max_new_symbols: The length limit of a completion.
        seed: The random seed for drawing prompts, if the language has too many of them.

    Raises:
        RuleExtrapError: If the language has no prompts of this length, the limit is negative, or a model has too few
            positions.

    >>> from hf_ruleextrap import get_language
    >>> from hf_ruleextrap.completers import Oracle
    >>> language = get_language("anbn")
    >>> comparison = compare(Oracle(language), Oracle(language), language, max_new_symbols=16)
    >>> comparison.rates[0].difference.mean, len(comparison.prompts)
    (0.0, 0)
    """
    check_integer("max_new_symbols", max_new_symbols)
    every = language.prompts(length=prompt_length, rng=np.random.default_rng(seed))
    rates: list[PairedRate] = []
    differing: list[DifferingPrompt] = []
    for kind in ("id", "ood"):
        prompts = every.of_kind(kind)
        if not len(prompts):
            continue
        completions = [model.complete(prompts, max_new_symbols=max_new_symbols) for model in (first, second)]
        verdicts = [formal.score(language, prompts, each.words, each.finished) for each in completions]
        for counted, successes in _counted(language, kind):
            ours, theirs = (successes(each) for each in verdicts)
            rates.append(_paired(kind, counted, ours, theirs))
        ours, theirs = (each.success for each in verdicts)
        for row in np.flatnonzero(prompts.judged & (ours != theirs)).tolist():
            texts = [_text(each.words, bool(each.finished[row]), row) for each in completions]
            differing.append(DifferingPrompt(kind, prompts.texts[row], (texts[0], texts[1]), bool(ours[row])))
    return Comparison(language.name, models, max_new_symbols, tuple(rates), tuple(differing))


def _counted(language: Language, kind: Kind) -> list[tuple[str, Callable[[Verdicts], BoolArray]]]:
    """Return the name of each rate and the function that returns the success after each prompt, the main rate first."""
    name = "a word of the language" if kind == "id" else "every open rule holds"
    counted: list[tuple[str, Callable[[Verdicts], BoolArray]]] = [
        (name, lambda verdicts: verdicts.success[verdicts.prompts.judged])
    ]
    for i, rule in enumerate(language.rules):
        counted.append(
            (f"R{i + 1}: {rule.summary}", lambda verdicts, i=i: verdicts.word[:, i] & verdicts.counts)  # type: ignore[misc]  # a default binds the number
        )
    return [*counted, ("completion finished", lambda verdicts: verdicts.finished)]


def _paired(kind: Kind, counted: str, first: BoolArray, second: BoolArray) -> PairedRate:
    difference = Difference.of(
        Clusters.of_rates(first.astype(np.float64)), Clusters.of_rates(second.astype(np.float64)), "second"
    )
    return PairedRate(
        kind,
        counted,
        int((first & second).sum()),
        int((first & ~second).sum()),
        int((~first & second).sum()),
        int((~first & ~second).sum()),
        difference,
    )


def _text(words: WordBatch, finished: bool, row: int) -> str:
    return words[row].replace(chr(FOREIGN_CODE), "?") + ("" if finished else "…")


def paired_table(comparison: Comparison) -> Table:
    """Return a row for each paired rate: both rates, their difference with its interval, and where the two differ."""
    headings = ["prompts", "over all prompts", "first", "second", "difference", "95 % interval", "only 1st", "only 2nd"]
    rows, kind = [], ""
    for rate in comparison.rates:
        first, second = rate.rates
        label = "" if rate.kind == kind else KIND_NAMES[rate.kind]
        kind, difference = rate.kind, rate.difference
        cells = [f"{first:.2f}", f"{second:.2f}", f"{difference.mean:+.2f}"]
        cells += [f"[{difference.low:+.2f}, {difference.high:+.2f}]", str(rate.only_first), str(rate.only_second)]
        rows.append([label, rate.counted, *cells, str(rate.n)])
    return [*headings, "n"], rows


def prompt_lines(comparison: Comparison) -> list[str]:
    """Return a line for each of the first prompts on which the models differ: the prompt and both completions."""
    lines = [
        f"  only {'1st' if each.first_succeeds else '2nd'}  {' │ '.join((each.prompt, *each.completions))}"
        for each in comparison.prompts[:_SHOWN]
    ]
    left_out = len(comparison.prompts) - _SHOWN
    return [*lines, f"  and {left_out} more; --json lists all"] if left_out > 0 else lines


def draw(figure: Figure, comparison: Comparison) -> None:
    """Draw the differences with their intervals, and the shares of prompts on which both, one or no model succeeds."""
    labels = [f"{rate.kind.upper()}: {rate.counted}" for rate in comparison.rates]
    places = np.arange(len(labels))[::-1]
    differences, shares = figure.subplots(1, 2, sharey=True)
    for place, rate in zip(places, comparison.rates, strict=True):
        each = rate.difference
        colour = COLOURS[0] if each.low > 0 else COLOURS[1] if each.high < 0 else "0.5"
        differences.plot([each.low, each.high], [place, place], color=colour, lw=2)
        differences.plot(each.mean, place, "o", color=colour)
    differences.axvline(0, color="0.4", lw=0.8)
    differences.set_xlim(-1.05, 1.05)
    differences.set_xticks([-1, -0.5, 0, 0.5, 1])
    differences.set_yticks(places, labels)
    differences.set_xlabel("rate of the first model less that of the second")
    differences.set_title("paired difference, 95 % interval", loc="left", fontsize="medium")
    left = np.zeros(len(labels))
    for name, label, colour in _CELLS:
        widths = np.array([getattr(rate, name) / rate.n for rate in comparison.rates])
        shares.barh(places, widths, left=left, color=colour, edgecolor="white", label=label)
        left += widths
    for place, rate in zip(places, comparison.rates, strict=True):
        shares.text(1.01, place, f"n = {rate.n}", va="center", fontsize="small")
    shares.set_xlim(0, 1.15)
    shares.set_xlabel("share of prompts")
    shares.set_title("prompts on which the models succeed", loc="left", fontsize="medium")
    shares.legend(frameon=False, fontsize="small", ncols=4, loc="upper left", bbox_to_anchor=(0, -0.16))
    for axes in (differences, shares):
        axes.spines[["top", "right"]].set_visible(False)


_CELLS: Sequence[tuple[str, str, str]] = (
    ("both", "both", COLOURS[5]),
    ("only_first", "only the first", COLOURS[0]),
    ("only_second", "only the second", COLOURS[1]),
    ("neither", "neither", "#DDDDDD"),
)
