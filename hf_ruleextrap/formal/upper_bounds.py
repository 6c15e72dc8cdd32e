"""The ceiling: the highest value that each rate of a report can have on given prompts, each rate by itself."""

from __future__ import annotations

import numpy as np

from .conjunction import Conjunction, NonEmpty
from .language import Language
from .machine import Machine, distinct
from .optimal import shortest_completions
from .prompts import PromptSet
from .scoring import Rate, Report, RuleReport, Split, group_rows
from .words import BoolArray, WordBatch


def ceiling(language: Language, prompts: PromptSet, *, max_new_symbols: int) -> Report:
    """Return the report whose every rate is the highest that completions within the limit can reach.

    Each rate is taken by itself: the completions that reach one of them need not be those that reach another, and no
    single set of completions need have this report (`oracle` gives one set, which keeps as much as it can at once). A
    prompt counts for a rate where some completion of at most ``max_new_symbols`` symbols makes the rate's condition
    true. Among finished completions the highest rate is 1 as soon as one prompt can count, because a completer may
    end after that prompt alone; then ``n`` is the number of prompts that can count. For ``empty`` and ``unparsable``,
    where higher is not better, the rate is 1.

    Args:
        language: The language whose rules are asked.
        prompts: N prompts.
        max_new_symbols: The length limit of a completion, 0 or more.

    Returns:
        A report like that of `scoring.aggregate`, whose rates are exact and have their hits.

    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("ban")
    >>> report = ceiling(lang, lang.prompts("ood"), max_new_symbols=8)
    >>> report.rules["starts_with_b"].word.all.rate, report.rules["starts_with_b"].completion.all.rate
    (0.0, 1.0)
    """
    words, rules = prompts.words, language.rules
    nothing = WordBatch.from_strings([""])

    def reachable(machine: Machine, words: WordBatch) -> BoolArray:
        return _reachable(machine, words, language.alphabet, max_new_symbols)

    word = np.stack([reachable(rule, words) for rule in rules], axis=1)
    alone = [bool(reachable(rule.for_completion, nothing)[0]) for rule in rules]
    headline = np.zeros(len(prompts), np.bool_)
    for is_open in np.unique(prompts.open[prompts.asked], axis=0):
        rows = np.flatnonzero(prompts.asked & (prompts.open == is_open).all(axis=1))
        # Where all rules are open and the prompt is OOD, no completion keeps them all: that is what OOD means.
        if not is_open.all():
            together = Conjunction([rule for rule, wanted in zip(rules, is_open, strict=True) if wanted])
            headline[rows] = reachable(together, words.take(rows))
    return _report(language, prompts, headline, reachable(NonEmpty(language), words), word, alone)


def _reachable(machine: Machine, words: WordBatch, alphabet: tuple[str, ...], limit: int) -> BoolArray:
    """(N,) bool: does some completion within the limit make the machine accept? Equal states are asked once."""
    if not len(words):
        return np.zeros(0, np.bool_)
    first, place = distinct(machine.read(words))
    return shortest_completions(machine, words.take(first), alphabet, limit)[1][place]


def _report(
    language: Language,
    prompts: PromptSet,
    headline: BoolArray,
    grammatical: BoolArray,
    word: BoolArray,
    alone: list[bool],
) -> Report:
    """The report of what each of N prompts can reach, and of its groups."""
    n = len(prompts)
    every = np.ones(n, np.bool_)
    rules = {
        rule.name: RuleReport(rule.summary, word=_split(word[:, i]), completion=_split(every & alone[i]))
        for i, rule in enumerate(language.rules)
    }
    groups = {
        by: {
            value: _report(language, prompts.take(rows), headline[rows], grammatical[rows], word[rows], alone)
            for value, rows in parts.items()
        }
        for by, parts in group_rows(prompts).items()
    }
    return Report(
        language=language.name,
        n=n,
        headline=_rate(headline, prompts.asked),
        finished=_rate(every, every),
        empty=_rate(every, every),
        unparsable=_rate(every, every),
        grammatical=_rate(grammatical, every),
        rules=rules,
        groups=groups,
    )


def _split(reachable: BoolArray) -> Split:
    every = np.ones_like(reachable)
    return Split(all=_rate(reachable, every), finished=_rate(reachable, reachable if reachable.any() else every))


def _rate(reachable: BoolArray, among: BoolArray) -> Rate:
    hits, n = int((reachable & among).sum()), int(among.sum())
    return Rate.known(hits / n if n else 0.0, n, hits)
