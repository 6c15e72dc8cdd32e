"""The exact expected rates of a rational learner on prompts, and the rules that its completions keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_ruleextrap.errors import check_integer

from .intervals import Rate
from .programs import RuleSet
from .prompts import PromptSet
from .rational import NEGLIGIBLE, RationalLearner
from .scoring import Report, RuleReport, Split, group_rows
from .words import BoolArray, FloatArray


def expected_report(learner: RationalLearner, prompts: PromptSet, *, max_new_symbols: int | None = None) -> Report:
    """Return the exact expected rates of completions that are drawn from a learner's predictions.

    Args:
        learner: The learner.
        prompts: N prompts.
        max_new_symbols: The largest number of symbols in a completion. A longer completion is unfinished. None for no
            limit.

    Returns:
        A report like that of `scoring.aggregate`, whose rates are exact.

    Raises:
        RuleExtrapError: If a prompt is longer than the largest length, or the limit is negative.

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
        """Return the means over all prompts, and over each group of prompts."""
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
            # The completion of each prompt may end with some probability, unless the limit forbids that.
            among_finished = Rate.known(min(1.0, kept / finished), int(rows.sum())) if finished else Rate.known(0.0, 0)
            return Split(all=rate(probabilities), finished=among_finished)

        rules = {
            name: RuleReport(summary, word=split(self.word[:, i]), completion=split(self.completion[:, i]))
            for i, (name, summary) in enumerate(self.rules.items())
        }
        return Report(
            language=language,
            n=int(rows.sum()),
            headline=rate(self.headline, rows & self.prompts.in_headline),
            finished=rate(self.finished),
            empty=rate(self.empty),
            unparsable=rate(np.zeros(len(rows))),
            grammatical=rate(self.grammatical),
            rules=rules,
        )


@dataclass(frozen=True)
class Kept:
    """A set of rules that a completion keeps, with its probability.

    Attributes:
        rules: The names of the language's rules that the program behind the completion keeps.
        probability: The sum of the probabilities of all programs that keep exactly these rules.
        label: The rules in words, e.g. ``"R1 alone"``.
    """

    rules: tuple[str, ...]
    probability: float
    label: str


@dataclass(frozen=True)
class Explanation:
    """The reasons for the completion of a prompt by a learner.

    Attributes:
        prompt: The prompt.
        kept: The sets of the language's rules that the completion may keep, the most probable set first.
        programs: The most probable programs behind the completion. Each is the rules of a conjunction as sentences (no
            sentence for all words over the alphabet), with the probability of the program.
        open_rules_hold: The exact probability that the completed word keeps every rule that the prompt leaves open.
        completion: The greedy completion.
    """

    prompt: str
    kept: tuple[Kept, ...]
    programs: tuple[tuple[tuple[str, ...], float], ...]
    open_rules_hold: float
    completion: str

    def __str__(self) -> str:
        """Return the rules that are kept, with probabilities, e.g. ``R1 alone 0.93, neither 0.07``."""
        return ", ".join(f"{kept.label} {kept.probability:.2f}" for kept in self.kept if kept.probability >= 0.005)


def explain(learner: RationalLearner, prompts: PromptSet, *, programs: int = 5) -> list[Explanation]:
    """Return for each prompt the posterior over the kept rules, and the programs behind the completion.

    A program keeps a rule if each of its words, up to the largest length of the learner, keeps the rule.

    Args:
        learner: The learner.
        prompts: N prompts.
        programs: The number of programs that are listed.

    Raises:
        RuleExtrapError: If a prompt is longer than the largest length.

    >>> from hf_ruleextrap.formal.rational import rational_learner
    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("anbn")
    >>> learner = rational_learner(lang, ["ab", "aabb", "aaabbb", "aaaabbbb"] * 8)
    >>> print(explain(learner, lang.label(["baa"]))[0])
    R1 alone 0.84, neither 0.16
    """
    rates, completions = learner.headline(prompts), learner.complete(prompts)[0]
    keeps: dict[RuleSet, tuple[int, ...]] = {}
    return [
        _explained(learner, prompts.take(np.array([row])), float(rates[row]), completions[row], programs, keeps)
        for row in range(len(prompts))
    ]


def _explained(
    learner: RationalLearner,
    prompt: PromptSet,
    rate: float,
    completion: str,
    most: int,
    keeps: dict[RuleSet, tuple[int, ...]],
) -> Explanation:
    """Return the explanation of one prompt; ``keeps`` caches the rules that each program keeps."""
    space = learner.posterior.space
    gains = {kept: float(gain[0]) for kept, gain in learner.gains(prompt.words).items()}
    total = sum(gains.values())
    ranked = sorted(((kept, gain / total) for kept, gain in gains.items()), key=lambda item: -item[1])
    by_rules: dict[tuple[int, ...], float] = {}
    for kept, share in ranked:
        if share > NEGLIGIBLE:
            if kept not in keeps:
                keeps[kept] = tuple(i for i in sorted(space.own) if space.programs.implies(kept, i))
            by_rules[keeps[kept]] = by_rules.get(keeps[kept], 0.0) + share
    names = [rule.name for rule in space.language.rules]
    parts = sorted(by_rules.items(), key=lambda item: -item[1])
    kept_rules = [Kept(tuple(names[i] for i in rules), share, _label(rules, len(names))) for rules, share in parts]
    listed = [
        (tuple(space.rules[i].summary for i in sorted(kept)), share)
        for kept, share in ranked[:most]
        if share > NEGLIGIBLE
    ]
    return Explanation(prompt.texts[0], tuple(kept_rules), tuple(listed), rate, completion)


def _label(rules: tuple[int, ...], count: int) -> str:
    """Return in words the rules that are kept out of ``count`` rules of a language.

    >>> _label((0,), 2), _label((), 2), _label((0, 2), 3)
    ('R1 alone', 'neither', 'R1 and R3')
    """
    if not rules:
        return "neither" if count == 2 else "none"
    names = " and ".join(f"R{i + 1}" for i in rules)
    return f"{names} alone" if len(rules) == 1 else names
