"""Rational learners: the exact predictions of Bayes' rule after a prompt that breaks a rule.

A learner has a posterior over conjunctions H of rules (`posterior`), and predicts the next word by the posterior mean,

    P(word) = sum over H of P(H | training words) ((1 - epsilon) p_H(word) + epsilon E_H(word)).

The learner completes a prompt by P(word | word begins with the prompt). If the plausible H refute the prompt, only the
exceptions E_H are left, so the choice of E_H is the theory of the learner:

* ``rational-uniform``: words over the alphabet, uniform. An exception is noise.
* ``rational-simple``: the programs of all conjunctions h with shares proportional to 2^(-bits(h)). An exception is
  another simple program, in the spirit of Solomonoff's prior.
* ``rational-modular``: each rule of H is dropped with probability delta, and at least one rule is dropped. Rules are
  modules.

P is a mixture of programs. A program is the distribution over the words of a conjunction (`programs`), so each
prediction is a sum over programs of numbers that are counted on a graph of states. Nothing is sampled.

Source: Mészáros et al., NeurIPS 2024, arXiv 2409.13728, on a normative theory of rule extrapolation; Solomonoff, A
formal theory of inductive inference, 1964; Tenenbaum, A Bayesian framework for concept learning, 1999, for the size
principle. The three kinds of exceptions are our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError, unknown

from .graph import Graph
from .language import Language
from .posterior import (
    EXCEPTIONS,
    NO_RULES,
    Exceptions,
    HypothesisSpace,
    Posterior,
    RationalSettings,
    Track,
)
from .programs import RuleSet, Walk
from .prompts import PromptSet
from .words import BoolArray, FloatArray, IntArray, WordBatch, Words, symbol_codes

LEARNERS: dict[str, Exceptions] = {f"rational-{exceptions}": exceptions for exceptions in EXCEPTIONS}
"""The name of each learner, with its kind of exceptions."""

NEGLIGIBLE = 1e-13
"""The share of a prompt's probability below which a program is left out."""

_ERROR = 1e-12
"""The largest relative error, after any prefix, of leaving out the programs with the smallest shares."""

_SECONDS_A_PAIR = 5e-9
"""The time in seconds for a pair of states, for each symbol and each length."""

_TIE = 1e-9
"""The relative difference below which two probabilities count as equal."""


def rational_learner(
    language: Language,
    words: Words,
    name: str = "rational-modular",
    *,
    max_length: int | None = None,
    settings: RationalSettings | None = None,
    track: Track | None = None,
) -> RationalLearner:
    """Return a rational learner that has seen training words.

    Args:
        language: The language. The learner knows its alphabet and its rules, but not that the rules are the right ones.
        words: The training words, each as often as it was drawn. There may be no words if ``max_length`` is given.
        name: One of `LEARNERS`, or ``"rational"`` for ``"rational-modular"``.
        max_length: The largest length of a word; by default, the length of the longest training word.
        settings: See `posterior.RationalSettings`.
        track: A function that shows the progress of work of more than ten seconds.

    Raises:
        RuleExtrapError: If the name is unknown, a word is unsuitable, or the words of the language cannot be counted up
            to the largest length.

    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("anbn")
    >>> learner = rational_learner(lang, ["ab", "aabb", "aaabbb", "aaaabbbb"] * 8, max_length=16)
    >>> learner.headline(lang.label(["baa", "abb"])).round(2).tolist()
    [0.86, 0.0]
    >>> list(learner.complete(lang.label(["baa"]))[0])
    ['babab']
    """
    batch = WordBatch.of(words, language.alphabet)
    if max_length is None:
        if not len(batch):
            raise RuleExtrapError("there are no training words to tell the largest length: give max_length")
        max_length = int(batch.lengths.max())
    space = HypothesisSpace(language, max_length, settings, track=track)
    return RationalLearner.of(space, batch, name)


def rates_by_words(
    space: HypothesisSpace, words: Words, prompts: PromptSet, counts: Sequence[int], name: str = "rational-modular"
) -> FloatArray:
    """Return (C, N) float64: `RationalLearner.headline` after each prompt, for learners that have seen fewer words.

    Args:
        space: The hypotheses.
        words: The training words, in the order in which they were seen.
        prompts: N prompts.
        counts: C numbers of words. Each learner has seen that number of words.
        name: One of `LEARNERS`.

    Raises:
        RuleExtrapError: If a count is larger than the number of words, or for the reasons of `rational_learner`.

    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("anbn")
    >>> words = ["ab", "aabb", "aaabbb", "aaaabbbb"] * 8
    >>> rates_by_words(HypothesisSpace(lang, 8), words, lang.label(["baa"]), [0, 4, 32]).round(2).T.tolist()
    [[0.2, 0.34, 0.87]]
    """
    batch = WordBatch.of(words, space.language.alphabet)
    for count in counts:
        if not 0 <= count <= len(batch):
            raise RuleExtrapError(f"the number of words seen is {count}: give 0 to {len(batch)}, the number of words")
    seen = [batch.take(np.arange(count)) for count in counts]
    return np.stack([RationalLearner.of(space, first, name).headline(prompts) for first in seen])


@dataclass(frozen=True, eq=False)
class Step:
    """One step of n completions that have not ended.

    Attributes:
        place: The number of symbols in each completion before the step.
        rows: (n,) int64, the row of the prefix of each completion.
        table: (n, k + 1) float64, the probability of each symbol, and in the last column of the end.
        choice: (n,) int64, the index in the alphabet of the symbol that is added, or k for the end.
    """

    place: int
    rows: IntArray
    table: FloatArray
    choice: IntArray


@dataclass(frozen=True, eq=False)
class RationalLearner:
    """A learner that has seen its training words.

    Attributes:
        name: One of `LEARNERS`.
        posterior: The posterior over conjunctions.
        shares: The share of each program in the predictions.
        lost: A bound on the share of all programs that were left out.
    """

    name: str
    posterior: Posterior
    shares: dict[RuleSet, float]
    lost: float

    @classmethod
    def of(cls, space: HypothesisSpace, words: Words, name: str = "rational-modular") -> RationalLearner:
        """Return a learner that has seen words, with a space of hypotheses that other learners may share.

        Raises:
            RuleExtrapError: For the reasons of `rational_learner`.
        """
        name = "rational-modular" if name == "rational" else name
        if name not in LEARNERS:
            raise unknown("rational learner", name, LEARNERS)
        posterior = Posterior.of(space, words, LEARNERS[name])
        shares = posterior.program_shares()
        # The program of no rules gives each prefix of m symbols a probability of at least k^(-m) / L, and no program
        # gives a prefix more than 1. Programs whose shares sum to less than this bound therefore matter to no prompt.
        length, ascending = space.max_length, sorted(shares.values())
        least = _ERROR * shares[NO_RULES] / length * float(len(space.language.alphabet)) ** -length
        threshold = ascending[int((np.cumsum(ascending) <= least).sum())]
        kept = {rules: share for rules, share in shares.items() if share >= threshold}
        lost = posterior.lost + sum(share for share in ascending if share < threshold)
        return cls(name, posterior, kept, lost)

    @property
    def language(self) -> Language:
        """The language whose words the learner has seen."""
        return self.posterior.space.language

    @property
    def max_length(self) -> int:
        """The largest length of a word."""
        return self.posterior.space.max_length

    def error(self, length: int) -> float:
        """Return a bound on the relative error of the predictions after prefixes of a length."""
        k = len(self.language.alphabet)
        return self.lost * float(k) ** length * self.max_length / self.shares[NO_RULES]

    def word_probability(self, words: Words) -> FloatArray:
        """Return (N,) float64: the probability of each word; 0 for the empty word and for words that are too long.

        Raises:
            RuleExtrapError: If a word has a symbol outside the alphabet.
        """
        batch = WordBatch.of(words, self.language.alphabet)
        probability = np.zeros(len(batch))
        for length, rows in self._by_length(batch, check=False):
            if 0 < length <= self.max_length:
                gains = self.gains(batch.take(rows), whole=True).values()
                probability[rows] = sum(gains) * float(len(self.language.alphabet)) ** -length
        return probability

    def next_symbol(self, prefixes: Words) -> FloatArray:
        """Return (N, k + 1) float64: the probability of each symbol, and of the end (last column), after each prefix.

        Raises:
            RuleExtrapError: If a prefix has a symbol outside the alphabet, or is longer than the largest length.
        """
        batch = WordBatch.of(prefixes, self.language.alphabet)
        table = np.zeros((len(batch), len(self.language.alphabet) + 1))
        for length, rows in self._by_length(batch):
            walk = Walk.of(self.posterior.space.programs, self.shares, batch.take(rows))
            table[rows] = walk.next_symbol(length)
        return table

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int | None = None, rng: np.random.Generator | None = None
    ) -> tuple[WordBatch, BoolArray]:
        """Return greedy or drawn completions of prompts.

        A greedy completion takes at each place the most probable symbol or the end. Among equally probable choices, the
        first symbol of the alphabet is taken, and the end last.

        Args:
            prompts: N prompts.
            max_new_symbols: The largest number of symbols in a completion; None for no limit.
            rng: The random number generator for drawn completions; None for greedy completions.

        Returns:
            The completions, and (N,) bool, whether each ended within the limit.

        Raises:
            RuleExtrapError: If a prompt is longer than the largest length.
        """
        limit = self.max_length if max_new_symbols is None else max_new_symbols
        n, end, symbols = len(prompts), len(self.language.alphabet), symbol_codes(self.language.alphabet)
        codes, lengths = np.zeros((n, min(limit, self.max_length)), np.uint8), np.zeros(n, np.int64)
        finished = np.zeros(n, np.bool_)
        for step in self.steps(prompts.words, limit=limit, rng=rng):
            finished[step.rows[step.choice == end]] = True
            going = (step.choice < end) & (step.place < limit)
            if going.any():
                codes[step.rows[going], step.place] = symbols[step.choice[going]]
                lengths[step.rows[going]] += 1
        return WordBatch.from_codes(codes, lengths), finished

    def steps(self, prefixes: WordBatch, *, limit: int, rng: np.random.Generator | None = None) -> Iterator[Step]:
        """Yield the steps of completing prefixes, for the prefixes of each length in turn.

        Args:
            prefixes: N prefixes.
            limit: The largest number of symbols in a completion. One more step says whether the completion ends there.
            rng: As in `complete`.

        Raises:
            RuleExtrapError: If a prefix is longer than the largest length.
        """
        end = len(self.language.alphabet)
        for length, rows in self._by_length(prefixes):
            walk = Walk.of(self.posterior.space.programs, self.shares, prefixes.take(rows))
            for place in range(limit + 1):
                table = walk.next_symbol(length + place)
                if rng is None:
                    choice = (table >= table.max(axis=1, keepdims=True) * (1 - _TIE)).argmax(axis=1)
                else:
                    draws = rng.random((len(rows), 1)) * table.sum(axis=1, keepdims=True)
                    choice = np.minimum((draws >= table.cumsum(axis=1)).sum(axis=1), end)
                yield Step(place, rows, table, choice)
                going = choice < end
                if not going.any():
                    break
                rows, walk = rows[going], walk.take(going).step(choice[going])

    def headline(self, prompts: PromptSet, *, max_new_symbols: int | None = None) -> FloatArray:
        """Return (N,) float64: the exact probability that the completed word keeps every open rule of its prompt.

        Args:
            prompts: N prompts.
            max_new_symbols: The largest number of symbols in a completion. A longer completion is a failure. None for
                no limit.

        Raises:
            RuleExtrapError: If a prompt is longer than the largest length.
        """
        rates = np.zeros(len(prompts))
        for is_open in np.unique(prompts.open, axis=0):
            rows = np.flatnonzero((prompts.open == is_open).all(axis=1))
            target = frozenset(np.flatnonzero(is_open).tolist())
            rates[rows] = self.holds(prompts.words.take(rows), target, max_new_symbols=max_new_symbols)
        return rates

    def holds(
        self, prefixes: WordBatch, target: RuleSet, *, alone: Graph | None = None, max_new_symbols: int | None = None
    ) -> FloatArray:
        """Return (N,) float64: the exact probability that the completed word keeps given rules of the language.

        Args:
            prefixes: N prefixes.
            target: The indices of the rules. For an empty target, the result is the probability that the completion
                ends within the limit.
            alone: A graph that must accept the completion by itself. It replaces the target.
            max_new_symbols: The largest number of symbols in a completion; None for no limit.

        Raises:
            RuleExtrapError: If a prefix is longer than the largest length.
        """
        programs, rates = self.posterior.space.programs, np.zeros(len(prefixes))
        limit = self.max_length if max_new_symbols is None else max_new_symbols
        for length, rows in self._by_length(prefixes):
            words = prefixes.take(rows)
            gains = self.gains(words)
            total, hits = sum(gains.values()), np.zeros(len(rows))
            for kept in self._tracked([kept for kept, gain in gains.items() if gain.any()], target, alone):
                program, missing = programs.program(kept), target - kept
                matters = np.flatnonzero(gains[kept] > NEGLIGIBLE * total)
                if not len(matters):
                    continue
                states = program.graph.read(words.take(matters))
                if alone is None and not missing:
                    within = program.gain_up_to(states, length, limit)
                else:
                    graph = programs.graph(missing) if alone is None else alone
                    at = graph.read(words.take(matters)) if alone is None else np.zeros(len(matters), np.int64)
                    within = program.gain_within(states, length, graph, at, limit)
                hits[matters] += self.shares[kept] * within
            rates[rows] = np.minimum(hits / total, 1.0)
        return rates

    def _tracked(self, conjunctions: list[RuleSet], target: RuleSet, alone: Graph | None) -> Iterable[RuleSet]:
        """Return the conjunctions, with a progress bar if following their programs with a target takes long."""
        space, pairs = self.posterior.space, 0
        for kept in conjunctions:
            if alone is not None or target - kept:
                graph = space.programs.graph(target - kept) if alone is None else alone
                pairs += len(space.programs.program(kept).graph) * len(graph)
        seconds = pairs * len(self.language.alphabet) * self.max_length * _SECONDS_A_PAIR
        work = f"following {len(conjunctions):,} hypotheses for {self.language.name}"
        return space.tracked(conjunctions, work, seconds=seconds)

    def gains(self, words: WordBatch, *, whole: bool = False) -> dict[RuleSet, FloatArray]:
        """Return for each program (N,) float64: its share of the gain of each of N prefixes of one length.

        Args:
            words: The prefixes.
            whole: Whether the prefixes are whole words.
        """
        programs, length = self.posterior.space.programs, words.codes.shape[1]
        gains = {}
        for kept, share in self.shares.items():
            program = programs.program(kept)
            table = program.end_gain(length) if whole else program.gain(length)
            gains[kept] = share * table[program.graph.read(words)]
        return gains

    def _by_length(self, words: WordBatch, *, check: bool = True) -> list[tuple[int, IntArray]]:
        """Return each length with the rows of that length; check that no prompt is too long."""
        for row in np.flatnonzero(words.lengths > self.max_length)[: int(check)]:
            raise RuleExtrapError(
                f"the prompt {words[row]:.40} has {words.lengths[row]} symbols, and no word that the learner knows has "
                f"more than {self.max_length}: give a shorter prompt or a larger max_length"
            )
        return [(int(length), np.flatnonzero(words.lengths == length)) for length in np.unique(words.lengths)]
