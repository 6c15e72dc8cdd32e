"""Scoring: does prompt + completion keep each rule? Verdicts for each row, then rates with their counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError, check_integer

from .language import Language
from .prompts import PromptSet
from .words import BoolArray, WordBatch, Words, pieces

_Z95 = 1.959963984540054
_RESAMPLES = 2000


@dataclass(frozen=True)
class Rate:
    """A rate and how sure it is.

    Attributes:
        rate: hits / n, or None where n is 0 (what was never asked has no rate).
        low, high: the 95 % interval (Wilson's score interval; for an exact rate, the rate itself).
        hits: how often it was so; None where the rate was computed, not counted.
        n: out of how many.
        exact: computed from the distribution, not counted in a sample.
    """

    rate: float | None
    low: float | None
    high: float | None
    hits: int | None
    n: int
    exact: bool = False

    @classmethod
    def count(cls, hits: BoolArray, among: BoolArray | None = None, *, samples: int = 1) -> Rate:
        """The rate of True, with its 95 % interval.

        With one row a prompt, the interval is Wilson's (E. B. Wilson, JASA 1927). With several, rows of a prompt are
        alike, and the interval is that of a bootstrap over prompts (2,000 resamples, percentiles, a fixed seed).

        Args:
            hits: (N,) bool.
            among: (N,) bool, the rows that count; by default all.
            samples: rows next to each other that belong to one prompt.

        >>> r = Rate.count(np.array([True, True, False]))
        >>> r.hits, r.n, round(r.low, 4), round(r.high, 4)
        (2, 3, 0.2077, 0.9385)
        >>> Rate.count(np.zeros(0, bool)).rate is None
        True
        """
        k, n = (int(hits.sum()), len(hits)) if among is None else (int((hits & among).sum()), int(among.sum()))
        if n == 0:
            return cls(None, None, None, 0, 0)
        if samples > 1:
            return cls(k / n, *_bootstrap(hits, among, samples), k, n)
        return cls(k / n, *wilson(k, n), k, n)

    @classmethod
    def known(cls, rate: float, n: int) -> Rate:
        """A rate that was computed, over n prompts."""
        return cls(rate, rate, rate, None, n, exact=True) if n else cls(None, None, None, None, 0, exact=True)


def wilson(hits: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a rate (E. B. Wilson, JASA 1927).

    Args:
        hits: how often it was so; a tie may count one half.
        n: out of how many, at least 1.

    >>> [round(end, 4) for end in wilson(2, 3)]
    [0.2077, 0.9385]
    """
    p, z2 = hits / n, _Z95**2
    center = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, min(p, center - half)), min(1.0, max(p, center + half))


def _bootstrap(hits: BoolArray, among: BoolArray | None, samples: int) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of the rate over resampled prompts."""
    among = np.ones_like(hits) if among is None else among
    of_prompt = np.stack([hits & among, among]).reshape(2, -1, samples).sum(axis=2)
    n = of_prompt.shape[1]
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
    k, m = of_prompt @ weights.T
    low, high = np.quantile(k[m > 0] / m[m > 0], [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Split:
    """One rate over all prompts (an unfinished or unparsable completion fails), and given that it finished."""

    all: Rate
    finished: Rate


@dataclass(frozen=True)
class RuleReport:
    """How often one rule holds: on the whole word, and on the completion alone."""

    summary: str
    word: Split
    completion: Split


@dataclass(frozen=True)
class Report:
    """What a set of completions did.

    Attributes:
        language: its name.
        n: number of completions.
        headline: every open rule of the prompt holds; over all OOD prompts that leave one open.
        finished: the completion ended by itself, within the limit.
        empty: it has no symbol.
        unparsable: it holds something that is no symbol.
        grammatical: prompt + completion is a word of the language (and finished).
        rules: each rule's rates, by its name, R1 first.
        groups: the same for parts of the rows: by ``kind``, by set of ``broken`` rules, by prompt ``length``; where all
            rows are alike in one of these, it is left out.
    """

    language: str
    n: int
    headline: Rate
    finished: Rate
    empty: Rate
    unparsable: Rate
    grammatical: Rate
    rules: dict[str, RuleReport]
    groups: dict[str, dict[str, Report]] = field(default_factory=dict)

    def paper_columns(self) -> dict[str, float | None]:
        """The rates under the names of the authors' tables: each among finished completions alone.

        Where nothing finished they are None; the authors' code has 0.0 there.
        """
        first, second = list(self.rules.values())[:2]
        return {
            "rule_1_accuracy": first.word.finished.rate,
            "rule_2_accuracy": second.word.finished.rate,
            "rule_2_completion_accuracy": second.completion.finished.rate,
            "finished": self.finished.rate,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and numbers, as in ``results.json``."""
        return asdict(self)

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What was found of each of N completions, for R rules.

    Attributes:
        language: the language they were judged by.
        prompts: N prompts.
        finished: (N,) bool, ended by itself.
        empty: (N,) bool, has no symbol.
        parsed: (N,) bool, holds nothing but symbols.
        word: (N, R) bool, the rule holds for prompt + completion.
        completion: (N, R) bool, the rule holds for the completion alone.
        samples: how many rows, next to each other, have the same prompt.
    """

    language: Language
    prompts: PromptSet
    finished: BoolArray
    empty: BoolArray
    parsed: BoolArray
    word: BoolArray
    completion: BoolArray
    samples: int = 1

    @property
    def counts(self) -> BoolArray:
        """(N,) bool: finished and parsed, so that it can succeed at all."""
        return self.finished & self.parsed

    @property
    def grammatical(self) -> BoolArray:
        """(N,) bool: finished, parsed, and prompt + completion is a word of the language."""
        words_exist = ~self.empty | (self.prompts.words.lengths > 0)
        return np.asarray(self.counts & self.word.all(axis=1) & words_exist)

    @property
    def open_hold(self) -> BoolArray:
        """(N,) bool: finished, parsed, and every rule that the prompt left open holds."""
        return np.asarray(self.counts & (self.word | ~self.prompts.open).all(axis=1))

    def take(self, rows: BoolArray) -> Verdicts:
        """The verdicts of some rows; all rows of a prompt, or none."""
        finished, empty, parsed = self.finished[rows], self.empty[rows], self.parsed[rows]
        word, completion = self.word[rows], self.completion[rows]
        prompts = self.prompts.take(rows)
        return Verdicts(self.language, prompts, finished, empty, parsed, word, completion, self.samples)


def score(
    language: Language,
    prompts: PromptSet | Words,
    completions: Words,
    finished: Sequence[bool] | BoolArray | None = None,
    *,
    samples: int = 1,
) -> Verdicts:
    """Judge completions.

    Args:
        language: whose rules are asked.
        prompts: N prompts; strings or arrays are labelled here.
        completions: what was added to each, without BOS and EOS. A completion with anything but symbols in it is
            unparsable and keeps no rule; with ``paper``, the rules pass over it, as in the authors' code, which shows
            in the rates among finished completions alone.
        finished: whether each ended by itself (gave EOS) within its limit; by default all did.
        samples: completions of each prompt, next to each other; N * samples in all.

    Raises:
        RuleExtrapError: numbers of rows differ, no rows, a row that is not a string, a foreign symbol in a prompt.

    >>> from hf_ruleextrap.languages import get_language
    >>> verdicts = score(get_language("anbn"), ["baa", "baa"], ["b", "a"])
    >>> verdicts.word.tolist()
    [[True, False], [False, False]]
    """
    if not isinstance(prompts, PromptSet):
        prompts = language.label(prompts)
    texts = _readable(completions, language)
    n = len(texts)
    done = np.ones(n, np.bool_) if finished is None else np.asarray(finished, dtype=np.bool_)
    check_integer("samples", samples, least=1)
    if not len(prompts) * samples == n == len(done):
        raise RuleExtrapError(
            f"{len(prompts)} prompts, {n} completions and {len(done)} finished flags: "
            f"give {samples} completion(s) for each prompt, and a flag for each completion"
        )
    if not n:
        raise RuleExtrapError("nothing to score: give at least one prompt and its completion")
    prompts = prompts if samples == 1 else prompts.take(np.arange(len(prompts)).repeat(samples))
    empty, parsed = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    word, alone = (np.zeros((n, len(language.rules)), np.bool_) for _ in range(2))
    for rows, piece in pieces(texts):
        empty[rows] = piece.lengths == 0
        parsed[rows] = known = ~piece.foreign(language.alphabet)
        if language.paper:
            # The rules of the authors' code pass over tokens that are no symbols.
            piece, known = piece.without_foreign(language.alphabet), np.ones_like(known)
        before = prompts.words.take(rows)
        for i, rule in enumerate(language.rules):
            word[rows, i] = known & rule.accepts(rule.read(piece, rule.read(before)))
            alone[rows, i] = known & rule.for_completion.accepts(rule.for_completion.read(piece))
    return Verdicts(language, prompts, done, empty, parsed, word, alone, samples)


def _readable(completions: Words, language: Language) -> WordBatch | Sequence[str]:
    """Strings as they are, so that a long one widens no matrix; anything else as a batch."""
    if isinstance(completions, (list, tuple)) and (not completions or isinstance(completions[0], (str, type(None)))):
        for row, text in enumerate(completions):
            if not isinstance(text, str):
                raise RuleExtrapError(f"completion {row} is {type(text).__name__}, not a string: give one a row")
        return completions
    return WordBatch.of(completions, language.alphabet, allow_foreign=True)


def aggregate(verdicts: Verdicts, *, groups: bool = True) -> Report:
    """Rates with their counts and 95 % intervals.

    Args:
        verdicts: of `score`.
        groups: also for each kind, set of broken rules, and prompt length.

    >>> from hf_ruleextrap.languages import get_language
    >>> report = aggregate(score(get_language("anbn"), ["baa", "baa", "ba"], ["b", "", ""], [True, True, False]))
    >>> report.headline.hits, report.headline.n, report.finished.rate
    (1, 3, 0.6666666666666666)
    """
    v = verdicts

    def rate(hits: BoolArray, among: BoolArray | None = None) -> Rate:
        return Rate.count(hits, among, samples=v.samples)

    def split(holds: BoolArray) -> Split:
        # Of an unparsable completion a rule holds in the authors' reading alone.
        return Split(all=rate(holds & v.counts), finished=rate(holds, v.finished))

    rules = {
        rule.name: RuleReport(rule.summary, word=split(v.word[:, i]), completion=split(v.completion[:, i]))
        for i, rule in enumerate(v.language.rules)
    }
    return Report(
        language=v.language.name,
        n=len(v.prompts),
        headline=rate(v.open_hold, v.prompts.asked),
        finished=rate(v.finished),
        empty=rate(v.empty),
        unparsable=rate(~v.parsed),
        grammatical=rate(v.grammatical),
        rules=rules,
        groups=_groups(v) if groups else {},
    )


def group_rows(prompts: PromptSet) -> dict[str, dict[str, BoolArray]]:
    """The rows of each group of prompts: by kind, by set of broken rules, by length, where these differ."""
    names = np.array(prompts.rules)
    # Each set of broken rules as the bits of a number.
    bits = 1 << np.arange(len(names))
    keys = {"kind": prompts.ood, "broken": ~prompts.open @ bits, "length": prompts.words.lengths}
    label: dict[str, Callable[[int], str]] = {
        "kind": lambda ood: "ood" if ood else "id",
        "broken": lambda key: "+".join(names[(bits & key) > 0]) or "none",
        "length": str,
    }
    found = {by: np.unique(of) for by, of in keys.items()}
    return {
        by: {label[by](value): keys[by] == value for value in values} for by, values in found.items() if len(values) > 1
    }


def _groups(verdicts: Verdicts) -> dict[str, dict[str, Report]]:
    return {
        by: {value: aggregate(verdicts.take(rows), groups=False) for value, rows in parts.items()}
        for by, parts in group_rows(verdicts.prompts).items()
    }
