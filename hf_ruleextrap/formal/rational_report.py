"""What a rational learner achieves on prompts: the exact expected rates of its completions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_ruleextrap.errors import check_integer

from .prompts import PromptSet
from .rational import RationalLearner
from .scoring import Rate, Report, RuleReport, Split, group_rows
from .words import BoolArray, FloatArray


def expected_report(learner: RationalLearner, prompts: PromptSet, *, max_new_symbols: int | None = None) -> Report:
    """Return the exact expected rates of completions that are drawn from a learner's predictions.

    Args:
        learner: the learner.
        prompts: N prompts.
        max_new_symbols: the most symbols in a completion, beyond which it is unfinished; None for no limit.

    Returns:
        A report like that of `scoring.aggregate`, whose rates are exact.

    Raises:
        RuleExtrapError: a prompt is longer than any word, or the limit is negative.

    >>> from hf_ruleextrap.formal.rational import rational_learner
    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("ban")
    >>> learner = rational_learner(lang, list(lang.words(8)))
    >>> report = expected_report(learner, lang.prompts("ood", length=4))
    >>> round(report.headline.rate, 3), report.headline.exact
    (0.946, True)
    """
    if max_new_symbols is not None:
        check_integer("max_new_symbols", max_new_symbols)
    language, words = learner.language, prompts.words
    rules = range(len(language.rules))

    def within(*target: int) -> FloatArray:
        return learner.holds(words, frozenset(target), max_new_symbols=max_new_symbols)

    programs = learner.posterior.space.programs
    alone = [programs.explored(rule.for_completion.of_language(language.alphabet)) for rule in language.rules]
    return _Expected(
        prompts,
        {rule.name: rule.summary for rule in language.rules},
        headline=learner.headline(prompts, max_new_symbols=max_new_symbols),
        finished=within(),
        empty=learner.next_symbol(words)[:, -1],
        grammatical=within(*rules),
        word=np.stack([within(i) for i in rules], axis=1),
        completion=np.stack(
            [learner.holds(words, frozenset(), alone=graph, max_new_symbols=max_new_symbols) for graph in alone], axis=1
        ),
    ).report(language.name)


@dataclass(frozen=True, eq=False)
class _Expected:
    """The probabilities after each of N prompts, for R rules."""

    prompts: PromptSet
    rules: dict[str, str]
    headline: FloatArray
    finished: FloatArray
    empty: FloatArray
    grammatical: FloatArray
    word: FloatArray
    completion: FloatArray

    def report(self, language: str) -> Report:
        """Return the means over all prompts, and over each group of them."""
        groups = {
            by: {value: self._report(language, rows) for value, rows in parts.items()}
            for by, parts in group_rows(self.prompts).items()
        }
        whole = self._report(language, np.ones(len(self.prompts), np.bool_))
        return Report(**{**vars(whole), "groups": groups})

    def _report(self, language: str, rows: BoolArray) -> Report:
        def rate(probabilities: FloatArray, among: BoolArray = rows) -> Rate:
            n = int(among.sum())
            return Rate.known(float(probabilities[among].mean()) if n else 0.0, n)

        def split(probabilities: FloatArray) -> Split:
            finished, kept = float(self.finished[rows].sum()), float(probabilities[rows].sum())
            # Some completion of any prompt may end, unless the limit forbids it.
            among_finished = Rate.known(min(1.0, kept / finished), int(rows.sum())) if finished else Rate.known(0.0, 0)
            return Split(all=rate(probabilities), finished=among_finished)

        rules = {
            name: RuleReport(summary, word=split(self.word[:, i]), completion=split(self.completion[:, i]))
            for i, (name, summary) in enumerate(self.rules.items())
        }
        return Report(
            language=language,
            n=int(rows.sum()),
            headline=rate(self.headline, rows & self.prompts.asked),
            finished=rate(self.finished),
            empty=rate(self.empty),
            unparsable=rate(np.zeros(len(rows))),
            grammatical=rate(self.grammatical),
            rules=rules,
        )
