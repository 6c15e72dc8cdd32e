"""What a source achieves on prompts, computed where it can be.

The distribution over the states of rule and source is followed exactly, place by place, which takes as many numbers
as there are states: few for parities and phases, one per value for a counter. A rule with a stack has too many; its
rate is sampled, and has an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2

import numpy as np

from hf_ruleextrap.costs import MOST_SECONDS, check_cost
from hf_ruleextrap.errors import RuleExtrapError, check_integer

from .graph import explore
from .intervals import Clusters, Rate
from .language import Language
from .machine import Conjunction, Machine, State, distinct
from .prompts import PromptSet
from .rules import Rule
from .scoring import Report, RuleReport, Split, Verdicts, aggregate, group_rows, score
from .sources import Source
from .words import BoolArray, FloatArray, WordBatch

_NEGLIGIBLE = 1e-15
"""Without a length limit, the walk stops when the probability of the unfinished completions falls below this."""

_MOST_PLACES = 100_000

_SECONDS_A_STATE = 1e-5
"""The time for one state at one position, in each of about ten walks of a report."""

_PLACES_OF_GROWTH = 16
"""From this place on, at each power of two, the cost of the rest of the walk is projected."""

_SAMPLES = 20_000


def chance(
    language: Language, prompts: PromptSet, source: Source, *, max_new_symbols: int | None, seed: int = 0
) -> Report:
    """Return the report of completions that are drawn from a source.

    Args:
        language: The language.
        prompts: N prompts.
        source: The source of the symbols, e.g. `sources.uniform`; chance without a named source means this one.
        max_new_symbols: The length limit; a completion that has not ended within the limit is unfinished. None for no
            limit.
        seed: The random seed for rates that cannot be computed and are estimated from draws.

    Returns:
        A report like that of `scoring.aggregate`; each of its rates says whether it is exact.

    Raises:
        RuleExtrapError: There is no limit, and the source may never end a completion.

    >>> from hf_ruleextrap.formal.sources import uniform
    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("ban")
    >>> report = chance(lang, lang.prompts("ood"), uniform(lang), max_new_symbols=None)
    >>> round(report.rules["even_as"].word.all.rate, 12), report.rules["even_as"].word.all.exact
    (0.5, True)
    """
    if max_new_symbols is not None:
        check_integer("max_new_symbols", max_new_symbols)
    walk = _Walk(language, source, max_new_symbols)
    sampled = None if all(map(_is_exact, language.rules)) else walk.sampled_report(prompts, seed)
    groups = group_rows(prompts)
    # The first column holds all prompts, each further column the prompts of a group.
    members = [np.ones(len(prompts), np.bool_), *(rows for parts in groups.values() for rows in parts.values())]
    sampled_parts = [
        sampled,
        *((sampled.groups[by][value] if sampled else None) for by in groups for value in groups[by]),
    ]
    report, *of_groups = walk.reports(prompts, np.stack(members, axis=1), sampled_parts)
    following = iter(of_groups)
    return replace(report, groups={by: {value: next(following) for value in parts} for by, parts in groups.items()})


def headline_chance(language: Language, prompts: PromptSet, source: Source, *, max_new_symbols: int) -> float:
    """Return the exact headline rate: the probability that a completion ends in time and keeps every open rule.

    Args:
        language: A language whose rules have no stack.
        prompts: N prompts; only those with `PromptSet.in_headline` count.
        source: See `chance`.
        max_new_symbols: The length limit.

    Returns:
        The mean over the prompts.

    Raises:
        RuleExtrapError: No prompt is OOD and leaves a rule open.

    >>> from hf_ruleextrap.formal.sources import uniform
    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("ban")
    >>> round(headline_chance(lang, lang.prompts("ood"), uniform(lang), max_new_symbols=64), 6)
    0.5
    """
    if not prompts.in_headline.any():
        raise RuleExtrapError(f"no OOD prompt of {language.name} leaves a rule open: give other prompts")
    return float(_Walk(language, source, max_new_symbols).headline(prompts, np.ones((len(prompts), 1), np.bool_))[0])


def chance_by_prompt(
    language: Language, prompts: PromptSet, source: Source, *, max_new_symbols: int, seed: int = 0
) -> Clusters:
    """Return the probability of success after each prompt, for paired differences.

    After an OOD prompt that leaves a rule open, success means that every open rule holds. After an ID prompt, success
    means that the result is a word of the language. The mean over OOD prompts is the headline of `chance`, and the mean
    over ID prompts is its ``grammatical``. The probabilities are exact unless a rule has a stack, or the states are too
    many; they are then estimated from the draws that `chance` uses.

    Args:
        language: The language.
        prompts: N prompts.
        source: See `chance`.
        max_new_symbols: The length limit.
        seed: See `chance`.

    Returns:
        A cluster for each OOD prompt with an open rule and for each ID prompt, in the order of the prompts.

    >>> from hf_ruleextrap.formal.sources import uniform
    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("ban")
    >>> chance_by_prompt(lang, lang.label(["ab", "ba"]), uniform(lang), max_new_symbols=64).hits.round(6).tolist()
    [0.333333, 0.333333]
    """
    rows = np.flatnonzero(prompts.in_headline | ~prompts.ood)
    wanted = prompts.open[rows] | ~prompts.ood[rows, None]
    rates = np.zeros(len(rows))
    try:
        for of_these in np.unique(wanted, axis=0):
            same = np.flatnonzero((wanted == of_these).all(axis=1))
            rules = [rule for rule, is_wanted in zip(language.rules, of_these, strict=True) if is_wanted]
            if not all(map(_is_exact, rules)):
                break
            rates[same] = _success_of_each(rules, prompts.words.take(rows[same]), source, max_new_symbols)
        else:
            return Clusters.of_rates(rates, exact=True)
    except RuleExtrapError:
        # The states are too many to be held at once: the probabilities are estimated from draws.
        pass
    verdicts = _Walk(language, source, max_new_symbols).sampled(prompts, seed)
    success = np.where(verdicts.prompts.ood, verdicts.open_hold, verdicts.grammatical)
    of_prompts = success.reshape(len(prompts), -1)[rows].astype(np.float64)
    return Clusters.of_rates(of_prompts.mean(axis=1), rows=of_prompts.shape[1])


def _success_of_each(rules: Sequence[Rule], words: WordBatch, source: Source, limit: int) -> FloatArray:
    """Return (N,) float64: the probability that a completion of each word ends within the limit and keeps all rules.

    The probabilities of the states that words and completions reach are computed for 0 further symbols, for 1, and so
    on.
    """
    machine = Conjunction([source, *rules])
    graph = explore(machine, source.alphabet, int(words.lengths.max(initial=0)) + limit)
    table = source.table[graph.states[0]]
    ending = table[:, -1] * graph.accepting
    # The last place stands for NOWHERE, from where nothing succeeds.
    success = np.append(ending, 0.0)
    for _ in range(limit):
        success = np.append(ending + (table[:, :-1] * success[graph.following]).sum(axis=1), 0.0)
    return success[graph.read(words)]


@dataclass(frozen=True)
class _Walk:
    """The exact computation of rates: all completions of all prompts at once, one symbol at a time."""

    language: Language
    source: Source
    limit: int | None

    def reports(self, prompts: PromptSet, members: BoolArray, sampled: Sequence[Report | None]) -> list[Report]:
        """Return the rates over several sets of prompts; each walk serves all sets.

        Args:
            prompts: N prompts.
            members: (N, G) bool, whether the prompt belongs to each set.
            sampled: For each set a report from which the rates that cannot be computed are taken, or None.
        """
        words, context, numbers = prompts.words, self.source.read(prompts.words), members.sum(axis=0)
        weights = _shares(members)
        finishing = self.success(Conjunction([]), (), context, weights)
        empty = self.source.table[context[0], -1] @ weights
        exact = all(map(_is_exact, self.language.rules))
        of_rules = {}
        for rule in filter(_is_exact, self.language.rules):
            alone = rule.for_completion
            word = self.success(rule, rule.read(words), context, weights)
            of_rules[rule.name] = word, self.success(alone, alone.start(len(prompts)), context, weights)
        headline, grammatical = np.zeros_like(finishing), np.zeros_like(finishing)
        headline_is_exact = all(map(_is_exact, self._open_rules(prompts)))
        if headline_is_exact:
            headline = self.headline(prompts, members)
        if exact:
            grammatical = self.success(self.language, self.language.read(words), context, weights)
        reports = []
        for g, (n, part) in enumerate(zip(numbers.tolist(), sampled, strict=True)):

            def split(rates: FloatArray, g: int = g, n: int = n) -> Split:
                finished = min(1.0, float(rates[g] / finishing[g])) if finishing[g] else 0.0
                known = Rate.known(finished, n if finishing[g] else 0)
                return Split(all=Rate.known(float(rates[g]), n), finished=known)

            rules = {}
            for rule in self.language.rules:
                if part is not None and rule.name not in of_rules:
                    rules[rule.name] = part.rules[rule.name]
                else:
                    word, completion = of_rules[rule.name]
                    rules[rule.name] = RuleReport(rule.summary, word=split(word), completion=split(completion))
            headline_rows = int((members[:, g] & prompts.in_headline).sum())
            known = Rate.known(float(headline[g]), headline_rows)
            reports.append(
                Report(
                    language=self.language.name,
                    n=n,
                    headline=known if part is None or headline_is_exact else part.headline,
                    finished=Rate.known(float(finishing[g]), n),
                    empty=Rate.known(float(empty[g]), n),
                    unparsable=Rate.known(0.0, n),
                    grammatical=Rate.known(float(grammatical[g]), n) if part is None else part.grammatical,
                    rules=rules,
                )
            )
        return reports

    def _open_rules(self, prompts: PromptSet) -> list[Conjunction]:
        """Return each set of rules that some prompt with a headline leaves open."""
        return [self._conjunction(is_open) for is_open in np.unique(prompts.open[prompts.in_headline], axis=0)]

    def _conjunction(self, is_open: BoolArray) -> Conjunction:
        return Conjunction([rule for rule, wanted in zip(self.language.rules, is_open, strict=True) if wanted])

    def headline(self, prompts: PromptSet, members: BoolArray) -> FloatArray:
        """Return (G,) the probability that every open rule holds: one walk for each set of open rules."""
        weights = _shares(members & prompts.in_headline[:, None])
        total = np.zeros(members.shape[1])
        for is_open in np.unique(prompts.open[prompts.in_headline], axis=0):
            rows = np.flatnonzero(prompts.in_headline & (prompts.open == is_open).all(axis=1))
            machine, words = self._conjunction(is_open), prompts.words.take(rows)
            total += self.success(machine, machine.read(words), self.source.read(words), weights[rows])
        return total

    def success(self, machine: Machine, state: State, context: State, weights: FloatArray) -> FloatArray:
        """Return (G,) the probability that a completion ends within the limit and the machine then accepts.

        Args:
            machine: A rule, several rules, or no rule (which accepts every word).
            state: The state of the machine after each of N prompts.
            context: The state of the source after each prompt.
            weights: (N, G) float64, the weight of each prompt in each of G means.
        """
        source = self.source
        registers: State = (*context, *state)
        total, place = np.zeros(weights.shape[1]), 0
        growth = _Growth(source.name, self.limit)
        while weights.sum(axis=0).max(initial=0) > _NEGLIGIBLE and (self.limit is None or place <= self.limit):
            if place > _MOST_PLACES:
                raise RuleExtrapError(f"{source.name} may go on for ever: give max_new_symbols")
            registers, weights = _merge(registers, weights)
            growth.check(place, len(weights))
            context, state = registers[:1], registers[1:]
            table = source.table[context[0]]
            accepted = machine.accepts(state) if state else np.ones(len(weights), np.bool_)
            total += (table[:, -1] * accepted) @ weights
            following = []
            for i, symbol in enumerate(source.symbols):
                possible = table[:, i] > 0
                codes = np.full(int(possible.sum()), symbol, np.uint8)
                after = machine.step(tuple(register[possible] for register in state), codes)
                alive = machine.alive(after) if state else np.ones(len(codes), np.bool_)
                here = source.step((context[0][possible],), codes)
                following.append(
                    (
                        (weights * table[:, i, None])[possible][alive],
                        tuple(register[alive] for register in (*here, *after)),
                    )
                )
            weights = np.concatenate([weight for weight, _ in following])
            registers = tuple(np.concatenate(parts) for parts in zip(*(state for _, state in following), strict=True))
            place += 1
        return total

    def sampled_report(self, prompts: PromptSet, seed: int) -> Report:
        """Return the report of drawn completions; it is exact if the source is deterministic."""
        report = aggregate(self.sampled(prompts, seed))
        return report.as_exact() if self.source.deterministic else report

    def sampled(self, prompts: PromptSet, seed: int) -> Verdicts:
        """Return the verdicts on the same number of drawn completions for each prompt, next to each other."""
        rng = None if self.source.deterministic else np.random.default_rng(seed)
        rows = np.arange(len(prompts)).repeat(1 if rng is None else max(1, _SAMPLES // max(1, len(prompts))))
        limit = _MOST_PLACES if self.limit is None else self.limit
        completions, finished = self.source.complete(prompts.words.take(rows), max_new_symbols=limit, rng=rng)
        return score(self.language, prompts.take(rows), completions, finished)


class _Growth:
    """The number of states of a walk, projected to its end while the walk is short."""

    def __init__(self, name: str, limit: int | None) -> None:
        self.name, self.limit = name, limit
        self.states = [0]

    def check(self, place: int, states: int) -> None:
        """Record the number of states at a position, and raise an error if the walk will take too long.

        The number of states grows as a power of the position: linearly with one counter, cubically with three.
        """
        self.states.append(self.states[-1] + states)
        if self.limit is None or place < _PLACES_OF_GROWTH or place & (place - 1):
            return
        so_far, half = self.states[-1], self.states[len(self.states) // 2]
        power = log2(so_far / half)
        projected = so_far * (max(self.limit, place) / place) ** power
        most = int(place * (MOST_SECONDS / (so_far * _SECONDS_A_STATE)) ** (1 / power)) if power > 0 else self.limit
        check_cost(
            f"following {self.name} through {self.limit:,} new symbols",
            f"give max_new_symbols <= {most:,}",
            seconds=projected * _SECONDS_A_STATE,
        )


def _is_exact(machine: Machine) -> bool:
    return all(register.ndim == 1 for register in machine.start(1))


def _shares(members: BoolArray) -> FloatArray:
    """(N, G) float64: the weight of each prompt in the mean over each of G sets of prompts."""
    return np.asarray(members / np.maximum(members.sum(axis=0), 1))


def _merge(state: State, weights: FloatArray) -> tuple[State, FloatArray]:
    """Return each state once, with the sum of its weights in each of the G columns."""
    first, place = distinct(state)
    sums = [np.bincount(place, column, minlength=len(first)) for column in weights.T]
    return tuple(register[first] for register in state), np.stack(sums, axis=1)
