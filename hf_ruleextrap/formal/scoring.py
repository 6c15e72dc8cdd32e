"""Scoring: decide for each completion which rules hold, and aggregate the verdicts to rates with their counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from textwrap import wrap
from typing import Any, cast

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError, check_integer, described

from .intervals import Rate
from .language import Language
from .prompts import PromptSet
from .tables import FlatWords
from .words import BoolArray, WordBatch, Words, compiled_loops, pieces, rows_of


@dataclass(frozen=True)
class Split:
    """One rate over all completions, where unfinished and unparsable ones fail, and over finished completions alone."""

    all: Rate
    finished: Rate


@dataclass(frozen=True)
class RuleReport:
    """The rates at which one rule holds: for the whole word, and for the completion alone."""

    summary: str
    word: Split
    completion: Split


@dataclass(frozen=True)
class Report:
    """The rates of a set of completions.

    Attributes:
        language: The name of the language.
        n: The number of completions.
        headline: The rate of completions that keep every open rule, over the OOD prompts that leave a rule open.
        finished: The rate of completions that end within the limit.
        empty: The rate of completions without symbols.
        unparsable: The rate of completions that contain a character or token that is not a symbol.
        grammatical: The rate of finished completions that extend their prompt to a word of the language.
        rules: The rates of each rule by its name, R1 first.
        groups: Reports of parts of the rows: by ``kind``, by set of ``broken`` rules, and by prompt ``length``. A
            grouping is omitted if all rows belong to the same group.
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
        """Return the rates among finished completions, under the names of the authors' tables.

        If no completion finished, the rates are None, where the authors' code has 0.0.
        """
        first, second = list(self.rules.values())[:2]
        return {
            "rule_1_accuracy": first.word.finished.rate,
            "rule_2_accuracy": second.word.finished.rate,
            "rule_2_completion_accuracy": second.completion.finished.rate,
            "finished": self.finished.rate,
        }

    def as_exact(self) -> Report:
        """Return the rates as exact rates, which those of a deterministic completer are."""
        return cast("Report", _as_exact(self))

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries and numbers, as in ``results.json``."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the rates as a table of at most 80 columns."""
        rates = [(self.headline, "every open rule holds (headline)")] if self.headline.n else []
        rates += [(rule.word.all, f"R{i}: {rule.summary}") for i, rule in enumerate(self.rules.values(), start=1)]
        rates += [(self.grammatical, "a word of the language"), (self.finished, "completion finished")]
        rows = [(rate.rate_text, rate.interval_text, str(rate.n), label) for rate, label in rates]
        lines = []
        for number, interval, n, label in (("rate", "95 % interval", "n", "over all prompts"), *rows):
            beginning = f"  {number:>4}  {interval:13}  {n:>5}  "
            lines += wrap(label, 80, initial_indent=beginning, subsequent_indent=" " * len(beginning))
        return "\n".join(lines)

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]


def _as_exact(part: Any) -> Any:
    if isinstance(part, Rate):
        return Rate.known(part.rate or 0.0, part.n, part.hits)
    if isinstance(part, dict):
        return {name: _as_exact(value) for name, value in part.items()}
    if isinstance(part, (Report, RuleReport, Split)):
        return replace(part, **{each.name: _as_exact(getattr(part, each.name)) for each in fields(part)})
    return part


@dataclass(frozen=True, eq=False)
class Verdicts:
    """The verdicts of N completions for the R rules of a language.

    Attributes:
        language: The language.
        prompts: N prompts, one for each completion.
        finished: (N,) bool, whether the completion ended by EOS within the limit.
        empty: (N,) bool, whether the completion has no symbols.
        parsed: (N,) bool, whether the completion contains only symbols.
        word: (N, R) bool, whether the rule holds for prompt + completion.
        completion: (N, R) bool, whether the rule holds for the completion alone.
        samples: The number of consecutive rows that have the same prompt.
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
        """(N,) bool: whether the completion is finished and parsed, without which it cannot succeed."""
        return self.finished & self.parsed

    @property
    def grammatical(self) -> BoolArray:
        """(N,) bool: whether the completion is finished, parsed, and extends its prompt to a word of the language."""
        words_exist = ~self.empty | (self.prompts.words.lengths > 0)
        return np.asarray(self.counts & self.word.all(axis=1) & words_exist)

    @property
    def open_hold(self) -> BoolArray:
        """(N,) bool: whether the completion is finished, parsed, and keeps every rule that the prompt leaves open."""
        return np.asarray(self.counts & (self.word | ~self.prompts.open).all(axis=1))

    @property
    def success(self) -> BoolArray:
        """(N,) bool: `open_hold` after an OOD prompt, and `grammatical` after an ID prompt; see `PromptSet.judged`."""
        return np.where(self.prompts.ood, self.open_hold, self.grammatical)

    def take(self, rows: BoolArray) -> Verdicts:
        """Return the verdicts of some rows. The selection has all rows of a prompt, or none of them."""
        finished, empty, parsed = self.finished[rows], self.empty[rows], self.parsed[rows]
        word, completion = self.word[rows], self.completion[rows]
        prompts = self.prompts.take(rows)
        return Verdicts(self.language, prompts, finished, empty, parsed, word, completion, self.samples)


def score(
    language: Language,
    prompts: PromptSet | Words,
    completions: Words,
    finished: Sequence[object] | BoolArray | None = None,
    *,
    samples: int = 1,
) -> Verdicts:
    """Return the verdicts on completions: which rules each completed word and each completion alone keeps.

    Args:
        language: The language.
        prompts: N prompts; strings and arrays are labelled first.
        completions: N * samples completions, without BOS and EOS. A completion with a character outside the alphabet is
            unparsable and keeps no rule. With ``paper``, the rules ignore such characters, as in the authors' code;
            this affects only the rates among finished completions.
        finished: For each completion, whether it ended within its limit, in a form that `finished_flags` accepts; by
            default, every completion ended.
        samples: The number of completions of each prompt; those of one prompt are next to each other.

    Raises:
        RuleExtrapError: If the numbers of rows differ, there are no rows, a row is not a string, a flag is neither true
            nor false, or a prompt has a symbol outside the alphabet.

    >>> from hf_ruleextrap.languages import get_language
    >>> verdicts = score(get_language("anbn"), ["baa", "baa"], ["b", "a"])
    >>> verdicts.word.tolist()
    [[True, False], [False, False]]
    """
    if not isinstance(prompts, PromptSet):
        prompts = language.label(prompts)
    elif prompts.rules != tuple(rule.name for rule in language.rules):
        raise RuleExtrapError(
            f"the prompts are of a language with the rules {', '.join(prompts.rules)}: give prompts of {language.name}"
        )
    texts = _readable(completions, language)
    n = len(texts)
    done = np.ones(n, np.bool_) if finished is None else finished_flags(finished)
    samples = check_integer("samples", samples, least=1)
    if not len(prompts) * samples == n == len(done):
        raise RuleExtrapError(
            f"{len(prompts)} prompts, {n} completions and {len(done)} finished flags: "
            f"give {samples} completion(s) for each prompt, and a flag for each completion"
        )
    if not n:
        raise RuleExtrapError("nothing to score: give at least one prompt and its completion")
    prompts = prompts if samples == 1 else prompts.take(np.arange(len(prompts)).repeat(samples))
    symbols = int(texts.lengths.sum()) if isinstance(texts, WordBatch) else sum(map(len, texts))
    read = _read_by_tables if compiled_loops(symbols) else _read_by_rules
    empty, parsed, word, alone = read(language, prompts.words, texts)
    return Verdicts(language, prompts, done, empty, parsed, word, alone, samples)


def _read_by_rules(
    language: Language, prompts: WordBatch, texts: WordBatch | Sequence[str]
) -> tuple[BoolArray, BoolArray, BoolArray, BoolArray]:
    """Return ``empty``, ``parsed``, ``word`` and ``completion`` of `Verdicts`: each rule reads every word."""
    n = len(texts)
    empty, parsed = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    word, alone = (np.zeros((n, len(language.rules)), np.bool_) for _ in range(2))
    for rows, piece in pieces(texts):
        empty[rows] = piece.lengths == 0
        parsed[rows] = readable = ~piece.foreign(language.alphabet)
        if language.paper:
            # The rules of the authors' code ignore tokens that are not symbols.
            piece, readable = piece.without_foreign(language.alphabet), np.ones_like(readable)
        before = prompts.take(rows)
        for i, rule in enumerate(language.rules):
            word[rows, i] = readable & rule.accepts(rule.read(piece, rule.read(before)))
            alone[rows, i] = readable & rule.for_completion.accepts(rule.for_completion.read(piece))
    return empty, parsed, word, alone


def _read_by_tables(
    language: Language, prompts: WordBatch, texts: WordBatch | Sequence[str]
) -> tuple[BoolArray, BoolArray, BoolArray, BoolArray]:
    """Return the same as `_read_by_rules` from look-up tables, and read by rules only words outside the tables."""
    words, before = FlatWords.of(texts), FlatWords.of(prompts)
    tables = language.tables(int((words.lengths + before.lengths).max()), of_completions=True)
    states, _ = tables.read(before)
    split = len(language.rules)
    # The rules that read a completion alone start without the prompt.
    states[:, split:] = tables.start[split:]
    states, foreign = tables.read(words, states)
    verdict = tables.verdict(states)
    accepts = verdict.accepts
    if not language.paper:
        accepts &= ~foreign[:, None]
    columns = words.lengths == 0, ~foreign, accepts[:, :split], accepts[:, split:]
    unknown = np.flatnonzero(verdict.unknown.any(axis=1))
    if len(unknown):
        rest = texts.take(unknown) if isinstance(texts, WordBatch) else [texts[row] for row in unknown.tolist()]
        for column, values in zip(columns, _read_by_rules(language, prompts.take(unknown), rest), strict=True):
            column[unknown] = values
    return columns


_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def finished_flags(finished: Sequence[object] | BoolArray) -> BoolArray:
    """Return flags as (N,) bool: booleans, the numbers 0 and 1, and the words true, false, 0 and 1 in any case.

    Raises:
        RuleExtrapError: If a flag is anything else, such as ``"no"`` or None; the message names the row.

    >>> finished_flags([True, "False", 0]).tolist()
    [True, False, False]
    """
    if isinstance(finished, np.ndarray) and finished.dtype == np.bool_ and finished.ndim == 1:
        return finished
    rows = rows_of(finished, "finished")
    if set(map(type, rows)) == {bool}:
        return np.fromiter(cast("Sequence[bool]", rows), np.bool_, len(rows))
    flags = np.zeros(len(rows), np.bool_)
    for row, flag in enumerate(rows):
        word = flag.strip().lower() if isinstance(flag, str) else None
        if word in _FLAGS:
            flags[row] = _FLAGS[word]
        elif isinstance(flag, (bool, int, float, np.bool_, np.integer, np.floating)) and flag in (0, 1):
            flags[row] = bool(flag)
        else:
            raise RuleExtrapError(f"finished, row {row}, is {described(flag)}: give true or false (or 1 or 0)")
    return flags


def _readable(completions: Words, language: Language) -> WordBatch | Sequence[str]:
    """Return strings unchanged, so that one long string does not widen a matrix, and anything else as a batch."""
    if isinstance(completions, WordBatch):
        return completions
    rows = rows_of(completions, "completions")
    if isinstance(rows, np.ndarray) or (len(rows) and not isinstance(rows[0], (str, type(None)))):
        return WordBatch.of(rows, language.alphabet, allow_foreign=True)
    if not set(map(type, rows)) <= {str}:
        for row, text in enumerate(rows):
            if not isinstance(text, str):
                raise RuleExtrapError(f"completion {row} is {type(text).__name__}, not a string: give one a row")
    return rows


def aggregate(verdicts: Verdicts, *, groups: bool = True) -> Report:
    """Return the rates of verdicts with their counts and 95 % intervals.

    Args:
        verdicts: The verdicts that `score` returns.
        groups: Whether to report each kind, set of broken rules, and prompt length, too.

    >>> from hf_ruleextrap.languages import get_language
    >>> report = aggregate(score(get_language("anbn"), ["baa", "baa", "ba"], ["b", "", ""], [True, True, False]))
    >>> report.headline.hits, report.headline.n, report.finished.rate
    (1, 3, 0.6666666666666666)
    """
    v = verdicts

    def rate(hits: BoolArray, among: BoolArray | None = None) -> Rate:
        return Rate.count(hits, among, samples=v.samples)

    def split(holds: BoolArray) -> Split:
        # A rule can hold for an unparsable completion only as the authors' code reads it.
        return Split(all=rate(holds & v.counts), finished=rate(holds, v.finished))

    rules = {
        rule.name: RuleReport(rule.summary, word=split(v.word[:, i]), completion=split(v.completion[:, i]))
        for i, rule in enumerate(v.language.rules)
    }
    return Report(
        language=v.language.name,
        n=len(v.prompts),
        headline=rate(v.open_hold, v.prompts.in_headline),
        finished=rate(v.finished),
        empty=rate(v.empty),
        unparsable=rate(~v.parsed),
        grammatical=rate(v.grammatical),
        rules=rules,
        groups=_groups(v) if groups else {},
    )


def group_rows(prompts: PromptSet) -> dict[str, dict[str, BoolArray]]:
    """Return the rows of each group of prompts, by kind, by set of broken rules and by length, where these differ."""
    names = np.array(prompts.rules)
    # Each set of broken rules as the bits of a number.
    bits = 1 << np.arange(len(names))
    keys = {"kind": prompts.ood, "broken": ~prompts.open @ bits, "length": prompts.words.lengths}
    label: dict[str, Callable[[int], str]] = {
        "kind": lambda ood: "ood" if ood else "id",
        "broken": lambda key: "+".join(names[(bits & key) > 0]) or "none",
        "length": str,
    }
    distinct_keys = {by: np.unique(key) for by, key in keys.items()}
    return {
        by: {label[by](value): keys[by] == value for value in values}
        for by, values in distinct_keys.items()
        if len(values) > 1
    }


def _groups(verdicts: Verdicts) -> dict[str, dict[str, Report]]:
    return {
        by: {value: aggregate(verdicts.take(rows), groups=False) for value, rows in parts.items()}
        for by, parts in group_rows(verdicts.prompts).items()
    }
