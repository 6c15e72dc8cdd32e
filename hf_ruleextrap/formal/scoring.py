"""Scoring: does prompt + completion keep each rule? Verdicts for each row, then rates with their counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError

from .language import Language
from .prompts import PromptSet
from .rules import ask
from .words import BoolArray, WordBatch, Words

_Z95 = 1.959963984540054


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
    def count(cls, hits: BoolArray, among: BoolArray | None = None) -> Rate:
        """The rate of True, with Wilson's interval (E. B. Wilson, JASA 1927).

        >>> r = Rate.count(np.array([True, True, False]))
        >>> r.hits, r.n, round(r.low, 4), round(r.high, 4)
        (2, 3, 0.2077, 0.9385)
        >>> Rate.count(np.zeros(0, bool)).rate is None
        True
        """
        k, n = (int(hits.sum()), len(hits)) if among is None else (int((hits & among).sum()), int(among.sum()))
        if n == 0:
            return cls(None, None, None, 0, 0)
        p, z2 = k / n, _Z95**2
        center = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z95 / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return cls(p, max(0.0, min(p, center - half)), min(1.0, max(p, center + half)), k, n)

    @classmethod
    def known(cls, rate: float, n: int) -> Rate:
        """A rate that was computed, over n prompts."""
        return cls(rate, rate, rate, None, n, exact=True) if n else cls(None, None, None, None, 0, exact=True)


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
        headline: every open rule of the prompt holds; over all OOD prompts.
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
    """

    language: Language
    prompts: PromptSet
    finished: BoolArray
    empty: BoolArray
    parsed: BoolArray
    word: BoolArray
    completion: BoolArray

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
        """The verdicts of some rows."""
        parts = (self.finished, self.empty, self.parsed, self.word, self.completion)
        return Verdicts(self.language, self.prompts.take(rows), *(part[rows] for part in parts))


def score(
    language: Language,
    prompts: PromptSet | Words,
    completions: Words,
    finished: Sequence[bool] | BoolArray | None = None,
) -> Verdicts:
    """Judge completions.

    Args:
        language: whose rules are asked.
        prompts: N prompts; strings or arrays are labelled here.
        completions: what was added to each, without BOS and EOS. A completion with anything but symbols in it is
            unparsable and keeps no rule.
        finished: whether each ended by itself (gave EOS) within its limit; by default all did.

    Raises:
        RuleExtrapError: numbers of rows differ, no rows, a row that is not a string, a foreign symbol in a prompt.

    >>> from hf_ruleextrap.languages import get_language
    >>> verdicts = score(get_language("anbn"), ["baa", "baa"], ["b", "a"])
    >>> verdicts.word.tolist()
    [[True, False], [False, False]]
    """
    if not isinstance(prompts, PromptSet):
        prompts = language.label(prompts)
    batch = WordBatch.of(completions, language.alphabet, allow_foreign=True)
    done = np.ones(len(batch), np.bool_) if finished is None else np.asarray(finished, dtype=np.bool_)
    if not len(prompts) == len(batch) == len(done):
        message = (
            f"{len(prompts)} prompts, {len(batch)} completions and {len(done)} finished flags: give one each a row"
        )
        raise RuleExtrapError(message)
    if not len(batch):
        raise RuleExtrapError("nothing to score: give at least one prompt and its completion")
    parsed = ~batch.foreign(language.alphabet)
    whole = prompts.words.followed_by(batch)
    word = [ask(rule, whole, "accepts")[0] & parsed for rule in language.rules]
    alone = [ask(rule.for_completion, batch, "accepts")[0] & parsed for rule in language.rules]
    return Verdicts(language, prompts, done, batch.lengths == 0, parsed, np.column_stack(word), np.column_stack(alone))


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

    def split(holds: BoolArray) -> Split:
        return Split(all=Rate.count(holds & v.counts), finished=Rate.count(holds & v.parsed, among=v.finished))

    rules = {
        rule.name: RuleReport(rule.summary, word=split(v.word[:, i]), completion=split(v.completion[:, i]))
        for i, rule in enumerate(v.language.rules)
    }
    return Report(
        language=v.language.name,
        n=len(v.prompts),
        headline=Rate.count(v.open_hold, among=v.prompts.ood),
        finished=Rate.count(v.finished),
        empty=Rate.count(v.empty),
        unparsable=Rate.count(~v.parsed),
        grammatical=Rate.count(v.grammatical),
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
