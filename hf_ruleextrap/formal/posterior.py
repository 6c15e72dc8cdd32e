"""The exact posterior over conjunctions of rules, given training words.

A training word comes from the conjunction H with probability 1 - epsilon, and otherwise from the exceptions E_H:

    P(word | H) = (1 - epsilon) p_H(word) + epsilon E_H(word),        P(H) proportional to 2^(-bits(H)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from math import log
from typing import Literal, TypeAlias, get_args

import numpy as np

from hf_ruleextrap.costs import check_cost
from hf_ruleextrap.errors import RuleExtrapError, check_integer, unknown

from .hypotheses import candidate_rules
from .language import Language
from .measures import BITS_PER_TOKEN, description_bits
from .programs import Programs, RuleSet, subsets
from .words import BoolArray, FloatArray, WordBatch, Words

Exceptions: TypeAlias = Literal["uniform", "simple", "modular"]
"""The kinds of exceptions: the distribution of the words that the rules do not explain."""

EXCEPTIONS: tuple[Exceptions, ...] = get_args(Exceptions)
"""All kinds of exceptions."""

NO_RULES: RuleSet = frozenset()
"""The conjunction of no rules, which every word keeps."""

Track: TypeAlias = Callable[[list[RuleSet]], Iterable[RuleSet]]
"""A function that iterates over conjunctions and shows the progress."""

_SECONDS_A_STEP, _SECONDS_A_STATE, _SECONDS_AN_EXPLORED_STATE = 1e-6, 1e-8, 3e-5
"""Seconds for one length of a conjunction, for each state and symbol of the length, and to explore one state."""

_SILENT_SECONDS = 10
"""The estimated time, in seconds, above which work shows a progress bar."""

_PROBE = 12
"""The length at which the growth of the number of states of a rule is measured."""

_NEGLIGIBLE = 1e-13
"""The posterior probability up to which a conjunction is ignored."""


@dataclass(frozen=True)
class RationalSettings:
    """The assumptions of a rational learner.

    Attributes:
        epsilon: The probability that a training word is an exception.
        delta: The probability with which an exception of ``rational-modular`` drops each rule.
        budget: The length of the longest description of a hypothesis, in bits. The language's own conjunction is always
            considered.
        exception_budget: The length of the longest description of a program behind an exception of ``rational-simple``,
            in bits. All conjunctions of the language's own rules are always considered.
        bits_per_token: The number of bits of the prefix code for one token of a description.

    Raises:
        RuleExtrapError: If a probability is not between 0 and 1, or a budget is too small for any hypothesis.
    """

    epsilon: float = 0.01
    delta: float = 0.1
    budget: float = 29.0
    exception_budget: float = 21.0
    bits_per_token: float = BITS_PER_TOKEN

    def __post_init__(self) -> None:
        for name in ("epsilon", "delta"):
            if not 0 < getattr(self, name) < 1:
                raise RuleExtrapError(f"{name} is {getattr(self, name)}: give a probability between 0 and 1, e.g. 0.05")
        for name in ("budget", "exception_budget"):
            if not getattr(self, name) >= 1:
                raise RuleExtrapError(
                    f"{name} is {getattr(self, name)} bits, and no hypothesis is so short: give 1 or more, e.g. 29"
                )
        if not 0 < self.bits_per_token < np.inf:
            raise RuleExtrapError(f"bits_per_token is {self.bits_per_token}: give a positive number, e.g. 4")


class HypothesisSpace:
    """The conjunctions that are considered for a language, with their descriptions and their programs.

    The conjunctions consist of at most two rules of `hypotheses.candidate_rules`, fit into the budget, and are kept by
    some word of at most ``max_length`` symbols. The language's own conjunction is always among them. Several learners
    can share one space, which counts the words of each program once.

    Args:
        language: The language whose words are learned.
        max_length: The largest length of a word.
        settings: The budgets and the prefix code.
        track: A function that shows the progress of work of more than ten seconds.

    Raises:
        RuleExtrapError: If ``max_length`` is too small for any word of the language, or too large to count the words.
    """

    def __init__(
        self,
        language: Language,
        max_length: int,
        settings: RationalSettings | None = None,
        *,
        track: Track | None = None,
    ) -> None:
        self.language, self.max_length = language, check_integer("max_length", max_length, least=1)
        language.check_length(max_length)
        self.settings = settings or RationalSettings()
        longest = max(self.settings.budget, self.settings.exception_budget)
        self.rules = candidate_rules(language, (longest - 1) / self.settings.bits_per_token)
        self.programs = Programs(self.rules, language.alphabet, max_length)
        self.own: RuleSet = frozenset(range(len(language.rules)))
        # A language whose words cannot be counted is refused at once.
        for rule in self.own:
            self.programs.graph(frozenset({rule}))
        self._track = track
        self._single_bits = np.array([self.bits(frozenset({i})) for i in range(len(self.rules))])

    def bits(self, kept: RuleSet) -> float:
        """Return the description length of a conjunction; a rule without a description counts as the whole budget."""
        settings = self.settings
        rules = [self.rules[i] for i in sorted(kept)]
        return description_bits(rules, bits_per_token=settings.bits_per_token, unknown=settings.budget)

    def within(self, budget: float) -> list[RuleSet]:
        """Return the conjunctions of at most two rules whose description has at most ``budget`` bits."""
        bits = self._single_bits
        singles = [frozenset({int(i)}) for i in np.flatnonzero(bits <= budget)]
        # The descriptions of the two rules share the first bit, and an "and" stands between them.
        room = budget + 1 - self.settings.bits_per_token
        order = np.argsort(bits, kind="stable")
        short = [int(i) for i in order if bits[i] + bits[order[0]] <= room]
        pairs = [frozenset(pair) for pair in combinations(sorted(short), 2) if bits[list(pair)].sum() <= room]
        return [NO_RULES, *singles, *pairs]

    def count(self, conjunctions: list[RuleSet]) -> list[RuleSet]:
        """Count the words of conjunctions, and return the conjunctions that have a word.

        Raises:
            RuleExtrapError: If the work is estimated to take more than ten minutes.
        """
        length, rules = self.max_length, sorted({i for kept in conjunctions for i in kept})
        sizes = dict(zip(rules, self._sizes(rules), strict=True))
        states = np.array([np.prod([sizes[i] for i in kept]) for kept in conjunctions])
        steps = length * (_SECONDS_A_STEP + _SECONDS_A_STATE * len(self.language.alphabet) * states)
        exploring, counting = sum(sizes.values()) * _SECONDS_AN_EXPLORED_STATE, float(steps.sum())
        work = f"counting the words of {len(conjunctions):,} hypotheses for {self.language.name}"
        for kept in self.tracked([frozenset({i}) for i in rules], work, seconds=exploring + counting):
            self.programs.graph(kept)
        tracked = self.tracked(conjunctions, work, seconds=counting)
        self.programs.count(tracked)
        return [kept for kept in conjunctions if np.isfinite(self.programs.log_word(kept)).any()]

    def tracked(self, conjunctions: list[RuleSet], work: str, *, seconds: float) -> Iterable[RuleSet]:
        """Return the conjunctions, with a progress bar if iterating over them takes more than ten seconds.

        Args:
            conjunctions: The conjunctions.
            work: A phrase for the work, which is the subject of an error message.
            seconds: The estimated time, in seconds.

        Raises:
            RuleExtrapError: If the work is estimated to take more than ten minutes.
        """
        advice = f"give a smaller budget (it is {self.settings.budget:g} bits) or a smaller max_length"
        check_cost(work, f"{advice} (it is {self.max_length})", seconds=seconds)
        return self._track(conjunctions) if self._track is not None and seconds > _SILENT_SECONDS else conjunctions

    def _sizes(self, rules: list[int]) -> FloatArray:
        """Return (R,) float64: the number of states of each rule; large lengths are estimated from two smaller ones."""

        def at(programs: Programs) -> FloatArray:
            return np.array([len(programs.graph(frozenset({i}))) for i in rules], np.float64)

        if self.max_length <= 2 * _PROBE:
            return at(self.programs)
        near, far = (at(Programs(self.rules, self.language.alphabet, length)) for length in (_PROBE, 2 * _PROBE))
        return np.asarray(far * (self.max_length / (2 * _PROBE)) ** np.log2(far / near))


@dataclass(frozen=True, eq=False)
class Evidence:
    """Training words without repetitions, with their counts.

    Attributes:
        words: U different words.
        counts: (U,) float64, the number of times that each word occurs.
        holds: (R, U) bool, whether each of R candidate rules holds for each word.
    """

    words: WordBatch
    counts: FloatArray
    holds: BoolArray

    @classmethod
    def of(cls, space: HypothesisSpace, words: Words) -> Evidence:
        """Read training words.

        Raises:
            RuleExtrapError: If a word is empty, longer than the largest length, or has a symbol outside the alphabet.
        """
        batch = WordBatch.of(words, space.language.alphabet)
        for row in np.flatnonzero((batch.lengths == 0) | (batch.lengths > space.max_length))[:1]:
            raise RuleExtrapError(
                f"training word {row} has {batch.lengths[row]} symbols: give words of 1 to {space.max_length} symbols, "
                "or another max_length"
            )
        texts, counts = np.unique(np.array(list(batch), dtype=str), return_counts=True)
        distinct_words = WordBatch.from_strings(texts.tolist())
        holds = np.stack([rule.holds(distinct_words) for rule in space.rules])
        return cls(distinct_words, counts.astype(np.float64), holds)

    def probability(self, space: HypothesisSpace, kept: RuleSet) -> FloatArray:
        """Return (U,) float64: the probability p_h(word) of each word under a conjunction h."""
        probability = np.exp(space.programs.log_word(kept))[self.words.lengths]
        return np.asarray(probability * self.holds[sorted(kept)].all(axis=0))


@dataclass(frozen=True, eq=False)
class Posterior:
    """The posterior over conjunctions.

    Attributes:
        space: The hypotheses.
        exceptions: The kind of exceptions.
        probabilities: The posterior probability of each conjunction.
        lost: A bound on the sum of the posterior probabilities of the conjunctions that were left out.
    """

    space: HypothesisSpace
    exceptions: Exceptions
    probabilities: dict[RuleSet, float]
    lost: float

    @classmethod
    def of(cls, space: HypothesisSpace, words: Words, exceptions: Exceptions) -> Posterior:
        """Return the posterior after training words.

        Args:
            space: The hypotheses.
            words: The training words, each as often as it was drawn. There may be no words.
            exceptions: One of `EXCEPTIONS`.

        Raises:
            RuleExtrapError: If the kind of exceptions is unknown, or a word is unsuitable.
        """
        if exceptions not in EXCEPTIONS:
            raise unknown("kind of exceptions", exceptions, EXCEPTIONS)
        evidence = Evidence.of(space, words)
        candidates = list(dict.fromkeys([space.own, *space.within(space.settings.budget)]))
        mixed = None
        if exceptions == "simple":
            parts = simple_exceptions(space)
            mixed = np.sum([share * evidence.probability(space, kept) for kept, share in parts.items()], axis=0)
        space.count(subsets(space.own))
        own = _log_joint(space, evidence, space.own, exceptions, mixed)
        plausible, lost = _plausible(space, evidence, candidates, own)
        fitting = space.count(plausible)
        logs = np.array([_log_joint(space, evidence, kept, exceptions, mixed) for kept in fitting])
        weights = np.exp(logs - logs.max())
        probabilities = dict(zip(fitting, (weights / weights.sum()).tolist(), strict=True))
        return cls(space, exceptions, probabilities, lost)

    @property
    def own_words(self) -> float:
        """The probability of all conjunctions with the same words as the language, up to the largest length."""
        return sum(
            probability
            for kept, probability in self.probabilities.items()
            if probability > _NEGLIGIBLE and self.space.programs.same_words(kept, self.space.own)
        )

    def program_shares(self) -> dict[RuleSet, float]:
        """Return the share of each program in the mean prediction."""
        settings = self.space.settings
        epsilon, shares = settings.epsilon, {NO_RULES: 0.0}
        for kept, probability in self.probabilities.items():
            shares[kept] = shares.get(kept, 0.0) + (1 - epsilon) * probability
            if self.exceptions == "modular":
                for rest, share in modular_exceptions(kept, settings.delta).items():
                    shares[rest] = shares.get(rest, 0.0) + epsilon * probability * share
        if self.exceptions == "uniform":
            shares[NO_RULES] += epsilon
        if self.exceptions == "simple":
            for kept, share in simple_exceptions(self.space).items():
                shares[kept] = shares.get(kept, 0.0) + epsilon * share
        return shares

    def most_probable(self, n: int = 10) -> list[tuple[RuleSet, float]]:
        """Return the n most probable conjunctions with their probabilities, the most probable first."""
        return sorted(self.probabilities.items(), key=lambda item: (-item[1], sorted(item[0])))[:n]


def modular_exceptions(kept: RuleSet, delta: float) -> dict[RuleSet, float]:
    """Return the probability of each remainder of a conjunction, when at least one rule is dropped.

    Each rule is dropped with probability ``delta``. The conjunction of no rules remains itself.

    >>> {tuple(rest): round(share, 3) for rest, share in modular_exceptions(frozenset({0, 1}), 0.1).items()}
    {(): 0.053, (1,): 0.474, (0,): 0.474}
    """
    if not kept:
        return {kept: 1.0}
    size = len(kept)
    some_dropped = 1 - (1 - delta) ** size
    return {
        rest: delta ** (size - len(rest)) * (1 - delta) ** len(rest) / some_dropped
        for rest in subsets(kept)
        if rest != kept
    }


def simple_exceptions(space: HypothesisSpace) -> dict[RuleSet, float]:
    """Return the share of each program in the exceptions of ``rational-simple``: 2^(-bits), normalized to the sum 1."""
    programs = dict.fromkeys([*space.within(space.settings.exception_budget), *subsets(space.own)])
    fitting = space.count(list(programs))
    shares = np.exp2([-space.bits(kept) for kept in fitting])
    return dict(zip(fitting, (shares / shares.sum()).tolist(), strict=True))


def _log_joint(
    space: HypothesisSpace, evidence: Evidence, kept: RuleSet, exceptions: Exceptions, mixed: FloatArray | None
) -> float:
    """Return the logarithm of 2^(-bits) times the probability of the training words."""
    epsilon = space.settings.epsilon
    if mixed is None:
        parts = {NO_RULES: 1.0} if exceptions == "uniform" else modular_exceptions(kept, space.settings.delta)
        mixed = np.sum([share * evidence.probability(space, rest) for rest, share in parts.items()], axis=0)
    likelihood = (1 - epsilon) * evidence.probability(space, kept) + epsilon * mixed
    return -space.bits(kept) * log(2) + float(evidence.counts @ np.log(likelihood))


def _plausible(
    space: HypothesisSpace, evidence: Evidence, candidates: list[RuleSet], own: float
) -> tuple[list[RuleSet], float]:
    """Return the conjunctions that may matter, and a bound on the posterior probability of all others.

    Let a conjunction allow F training words and refute R, and let n_u be the number of times that word u occurs. The
    probabilities of the different words that the conjunction allows sum to at most 1, and the probabilities of the
    words that it refutes sum to at most epsilon. The log-likelihood of the conjunction is therefore at most

        sum over all words of n_u log n_u  -  F log F  -  R log R  +  R log epsilon.

    A conjunction is left out if this bound is so far below the language's own conjunction that the conjunction cannot
    matter even after the longest prefix.
    """
    settings = space.settings
    allowed = np.array([evidence.counts @ evidence.holds[sorted(kept)].all(axis=0) for kept in candidates])
    refuted = evidence.counts.sum() - allowed
    bounds = _x_log_x(evidence.counts).sum() - _x_log_x(allowed) - _x_log_x(refuted) + refuted * log(settings.epsilon)
    bounds -= log(2) * np.array([space.bits(kept) for kept in candidates])
    longest = space.max_length * log(len(space.language.alphabet))
    slack = 40 + log(len(candidates)) + longest - log(settings.epsilon) - len(space.own) * log(settings.delta)
    keep = bounds >= own - slack
    lost = float(np.exp(bounds[~keep] - own).sum())
    return [kept for kept, may_matter in zip(candidates, keep, strict=True) if may_matter], lost


def _x_log_x(numbers: FloatArray) -> FloatArray:
    return np.asarray(numbers * np.log(np.maximum(numbers, 1)))
