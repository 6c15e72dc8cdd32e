"""What a source achieves on prompts, computed exactly where possible.

All completions are followed at once as a graph: its states are those of the rules and the context of the source, which
are few for parities and phases, and as many as the values of a counter. The probability of success is computed for each
state with 0 further symbols, with 1, and so on. A rule with a stack has too many states, so its rate is estimated from
draws and has an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2

import numpy as np

from hf_ruleextrap.costs import MOST_BYTES, MOST_SECONDS, check_cost
from hf_ruleextrap.errors import RuleExtrapError, check_integer

from .graph import Graph, explore, one_state_graph
from .intervals import Clusters, Rate
from .language import Language
from .machine import Conjunction, Machine, State, distinct
from .prompts import PromptSet
from .scoring import Report, RuleReport, Split, Verdicts, aggregate, group_rows, score
from .sources import GraphCompletions, Source, success_probabilities
from .words import BoolArray, FloatArray, IntArray

_NEGLIGIBLE = 1e-15
"""Completions are followed until the probability of the unfinished completions falls below this."""

_MOST_PLACES = 100_000

_SECONDS_A_STATE, _BYTES_A_STATE = 5e-8, 500
"""The time for one state and one further symbol, and the memory for one state."""

_MOST_STATES = 1 << 23
"""The largest number of states that are followed."""

_LENGTH_OF_GROWTH = 16
"""The length from which the cost of all lengths is projected."""

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
        RuleExtrapError: If there is no limit, and the source may never end a completion.

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
    rates = walk.success(prompts)
    groups = group_rows(prompts)
    whole = rates.report(np.ones(len(prompts), np.bool_), sampled)
    of_groups = {
        by: {value: rates.report(rows, sampled.groups[by][value] if sampled else None) for value, rows in parts.items()}
        for by, parts in groups.items()
    }
    return replace(whole, groups=of_groups)


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
        RuleExtrapError: If no prompt is OOD and leaves a rule open.

    >>> from hf_ruleextrap.formal.sources import uniform
    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("ban")
    >>> round(headline_chance(lang, lang.prompts("ood"), uniform(lang), max_new_symbols=64), 6)
    0.5
    """
    if not prompts.in_headline.any():
        raise RuleExtrapError(f"no OOD prompt of {language.name} leaves a rule open: give other prompts")
    rows = np.flatnonzero(prompts.in_headline)
    return float(_Walk(language, source, max_new_symbols).open_hold(prompts.take(rows)).mean())


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
    rows = np.flatnonzero(prompts.judged)
    walk, of_these = _Walk(language, source, max_new_symbols), prompts.take(rows)
    try:
        # All rules are open after an ID prompt.
        if all(map(_is_exact, walk.open_rules(of_these).values())):
            return Clusters.of_rates(walk.open_hold(of_these), exact=True)
    except RuleExtrapError:
        # The states are too many to be held at once: the probabilities are estimated from draws.
        pass
    success = walk.sampled(prompts, seed).success
    of_prompts = success.reshape(len(prompts), -1)[rows].astype(np.float64)
    return Clusters.of_rates(of_prompts.mean(axis=1), rows=of_prompts.shape[1])


@dataclass(frozen=True)
class _Walk:
    """The completions that a source draws after prompts of a language."""

    language: Language
    source: Source
    limit: int | None

    def success(self, prompts: PromptSet) -> _Success:
        """Return the probability of each kind of success after each prompt, as far as it can be computed."""
        words, rules = prompts.words, [rule for rule in self.language.rules if _is_exact(rule)]
        questions: list[tuple[Machine, State]] = [(Conjunction([]), ())]
        for rule in rules:
            alone = rule.for_completion
            questions += [(rule, rule.read(words)), (alone, alone.start(len(prompts)))]
        if len(rules) == len(self.language.rules):
            questions.append((self.language, self.language.read(words)))
        open_rules = self.open_rules(prompts.take(prompts.in_headline))
        headline_is_exact = all(map(_is_exact, open_rules.values()))
        if headline_is_exact:
            questions += [(machine, machine.read(words)) for machine in open_rules.values()]
        finished, *rates = self.probabilities(questions, self.source.read(words)[0])
        return _Success(
            language=self.language,
            in_headline=prompts.in_headline,
            finished=finished,
            empty=self.source.table[self.source.read(words)[0], -1],
            rules={rule.name: (rates[2 * i], rates[2 * i + 1]) for i, rule in enumerate(rules)},
            grammatical=rates[2 * len(rules)] if len(rules) == len(self.language.rules) else None,
            open_hold=_by_open_rules(prompts, open_rules, rates) if headline_is_exact else None,
        )

    def open_rules(self, prompts: PromptSet) -> dict[bytes, Machine]:
        """Return for each set of open rules, a row of `PromptSet.open`, a machine that accepts where all hold."""
        machines: dict[bytes, Machine] = {}
        for is_open in np.unique(prompts.open, axis=0):
            rules = [rule for rule, wanted in zip(self.language.rules, is_open, strict=True) if wanted]
            # The language itself has fewer states than its rules side by side, because it knows when they exclude
            # each other.
            several = self.language if is_open.all() else Conjunction(rules)
            machines[is_open.tobytes()] = rules[0] if len(rules) == 1 else several
        return machines

    def open_hold(self, prompts: PromptSet) -> FloatArray:
        """Return (N,) the probability after each prompt that every open rule holds."""
        open_rules = self.open_rules(prompts)
        questions = [(machine, machine.read(prompts.words)) for machine in open_rules.values()]
        rates = self.probabilities(questions, self.source.read(prompts.words)[0])
        return _by_open_rules(prompts, open_rules, rates)

    def probabilities(self, questions: Sequence[tuple[Machine, State]], context: IntArray) -> list[FloatArray]:
        """Return for each machine (N,) the probability that a completion ends within the limit and is accepted.

        Args:
            questions: Machines, each with its state after each of N prompts; a machine without registers accepts every
                completion.
            context: (N,) the context of the source after each prompt.
        """
        steps = self._steps(np.unique(context))
        graphs, size = [], 0
        numbers = np.zeros((len(questions), len(context)), np.int64)
        places_of: dict[int, list[int]] = {}
        for place, (machine, _) in enumerate(questions):
            places_of.setdefault(id(machine), []).append(place)
        for places in places_of.values():
            machine = questions[places[0]][0]
            state = tuple(np.concatenate(parts) for parts in zip(*(questions[i][1] for i in places), strict=True))
            graph, rows = self._explored(machine, state, steps)
            numbers[places] = size + rows.reshape(len(places), -1)
            graphs.append(graph)
            size += len(graph)
        joint = GraphCompletions(self.source, graphs)
        graph, rows = self._explored(joint, (numbers.reshape(-1), np.tile(context, len(questions))), steps)
        return list(success_probabilities(graph, self.source, steps)[rows].reshape(len(questions), -1))

    def _explored(self, machine: Machine, state: State, steps: int) -> tuple[Graph, IntArray]:
        """Return the states that ``steps`` symbols lead to from N states, and (N,) the numbers of these N states."""
        if not state:
            return one_state_graph(self.source.alphabet), np.zeros(1, np.int64)
        first, rows = distinct(state)
        start = tuple(register[first] for register in state)
        watch = _Growth(self.source.name, steps).check
        alphabet = self.source.alphabet
        return explore(machine, alphabet, steps, start=start, most_states=_MOST_STATES, watch=watch), rows

    def _steps(self, contexts: IntArray) -> int:
        """Return the number of symbols after which every completion has ended, up to a negligible probability."""
        source, k = self.source, len(self.source.alphabet)
        every = np.arange(len(source.table))
        following = np.stack([source.step((every,), np.full(len(every), code, np.uint8))[0] for code in source.symbols])
        going, place = np.ones(len(every)), 0
        while (self.limit is None or place < self.limit) and going[contexts].max(initial=0) > _NEGLIGIBLE:
            if place > _MOST_PLACES:
                raise RuleExtrapError(f"{source.name} may go on for ever: give max_new_symbols")
            going = (source.table[:, :k].T * going[following]).sum(axis=0)
            place += 1
        return place

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


def _by_open_rules(prompts: PromptSet, machines: dict[bytes, Machine], rates: Sequence[FloatArray]) -> FloatArray:
    """Return (N,) the rate of the machine of the rules that each prompt leaves open; 0 where there is no machine.

    Args:
        prompts: N prompts.
        machines: The machines by their rows of `PromptSet.open`.
        rates: For each machine, (N,) float64; other rates may stand before them.
    """
    chosen = np.zeros(len(prompts))
    for is_open, rate in zip(machines, rates[len(rates) - len(machines) :], strict=True):
        rows = (prompts.open == np.frombuffer(is_open, np.bool_)).all(axis=1)
        chosen[rows] = rate[rows]
    return chosen


@dataclass(frozen=True)
class _Success:
    """The probabilities of success after N prompts; None where they cannot be computed.

    Attributes:
        language: The language.
        in_headline: (N,) bool, whether the prompt counts for the headline.
        finished: (N,) the probability that the completion ends within the limit.
        empty: (N,) the probability that the completion has no symbols.
        rules: By the name of the rule: (N,) the probability that the completion ends and the rule holds for the whole
            word, and the same for the completion alone.
        open_hold: (N,) the probability that the completion ends and keeps every open rule; 0 outside the headline.
        grammatical: (N,) the probability that the result is a word of the language.
    """

    language: Language
    in_headline: BoolArray
    finished: FloatArray
    empty: FloatArray
    rules: dict[str, tuple[FloatArray, FloatArray]]
    open_hold: FloatArray | None
    grammatical: FloatArray | None

    def report(self, rows: BoolArray, sampled: Report | None) -> Report:
        """Return the rates over some prompts.

        Args:
            rows: (N,) bool, the prompts.
            sampled: A report of the same prompts, from which the rates that cannot be computed are taken.
        """
        n = int(rows.sum())
        finishing = _mean(self.finished, rows)

        def split(success: FloatArray) -> Split:
            rate = _mean(success, rows)
            finished = min(1.0, rate / finishing) if finishing else 0.0
            return Split(all=Rate.known(rate, n), finished=Rate.known(finished, n if finishing else 0))

        def rule_report(name: str, summary: str) -> RuleReport:
            if name not in self.rules:
                assert sampled is not None
                return sampled.rules[name]
            word, completion = self.rules[name]
            return RuleReport(summary, word=split(word), completion=split(completion))

        def rate(success: FloatArray | None, among: BoolArray, otherwise: Rate | None) -> Rate:
            if success is None:
                assert otherwise is not None
                return otherwise
            return Rate.known(_mean(success, among), int(among.sum()))

        return Report(
            language=self.language.name,
            n=n,
            headline=rate(self.open_hold, rows & self.in_headline, sampled.headline if sampled else None),
            finished=Rate.known(finishing, n),
            empty=rate(self.empty, rows, None),
            unparsable=Rate.known(0.0, n),
            grammatical=rate(self.grammatical, rows, sampled.grammatical if sampled else None),
            rules={rule.name: rule_report(rule.name, rule.summary) for rule in self.language.rules},
        )


def _mean(values: FloatArray, rows: BoolArray) -> float:
    """Return the mean of some values, 0 for no values."""
    return float(values[rows].mean()) if rows.any() else 0.0


class _Growth:
    """The number of states that completions of each length reach, projected to the last length."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self._seconds, self._bytes = [0.0], [0.0]

    def check(self, length: int, states: int) -> None:
        """Record the number of states, and raise an error if all lengths would take too much time or memory.

        The number of states grows as a power of the length: linearly with one counter, cubically with three.
        """
        self._seconds.append(self._seconds[-1] + states * _SECONDS_A_STATE)
        self._bytes.append(states * _BYTES_A_STATE)
        # The cost is projected at each power of two.
        if length < _LENGTH_OF_GROWTH or length & (length - 1):
            return
        for costs, most in ((self._seconds, MOST_SECONDS), (self._bytes, MOST_BYTES)):
            cost, power = costs[length], log2(costs[length] / costs[length // 2])
            longest = int(length * (most / cost) ** (1 / power)) if power > 0 else self.steps
            projected = cost * (max(self.steps, length) / length) ** power
            check_cost(
                f"following {self.name} through {self.steps:,} new symbols",
                f"give max_new_symbols <= {longest:,}",
                seconds=projected if costs is self._seconds else 0,
                size=projected if costs is self._bytes else 0,
            )


def _is_exact(machine: Machine) -> bool:
    return all(register.ndim == 1 for register in machine.start(1))
