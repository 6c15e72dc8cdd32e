"""A conjunction of rules as a distribution over words: the length uniform among those it has, then the word uniform.

All is counted on the graph of states. Let k be the number of symbols, and W_n(s) the probability that n symbols drawn
uniformly lead from state s to a state in which a word may end. Then k^n W_n(s) words complete a prefix in state s with
n more symbols, and k^n W_n(start) words have n symbols, so that

    p(word of n symbols)             = 1 / (number of lengths) / (k^n W_n(start)),
    p(prefix of m symbols, state s)  = k^(-m) / (number of lengths) * sum over n of W_n(s) / W_(m + n)(start).

The factor of k^(-m) in the second line is the *gain* of the prefix: how much more of the probability the conjunction
gives to the prefix than uniformly drawn symbols do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError

from .graph import NOWHERE, Graph, explore
from .rules import Rule
from .viability import reachable
from .words import BoolArray, FloatArray, IntArray

RuleSet = frozenset[int]
"""A conjunction: the places of its rules in a list of rules."""

_MOST_DIGITS = 250.0
"""Decimal digits of the number of all words, beyond which the probability of a word is no floating-point number."""

_LARGE = 1 << 10
"""States of a product from which on those that no word needs are looked for and left out."""


@dataclass(frozen=True, eq=False)
class Program:
    """The words of 1 to L symbols that a graph of S states accepts, as a distribution.

    Attributes:
        graph: its states; state 0 is that of the empty word.
        max_length: L, the largest length.
        ways: (L + 1, S + 1) float64, W_n(s); the last column is the state that no word leaves.
    """

    graph: Graph
    max_length: int
    ways: FloatArray

    @classmethod
    def of(cls, graph: Graph, max_length: int) -> Program:
        """Count the words of a graph."""
        return cls(graph, max_length, ways_to_end(graph, max_length))

    @cached_property
    def log_word(self) -> FloatArray:
        """(L + 1,) float64: the log-probability of each word of each length, in nats; -inf where there is none."""
        numbers = self.ways[:, 0].copy()
        # The empty word is in no language.
        numbers[0] = 0.0
        lengths = np.arange(self.max_length + 1)
        with np.errstate(divide="ignore"):
            logs = -np.log(numbers) - lengths * np.log(len(self.graph.alphabet)) - np.log((numbers > 0).sum())
        return np.asarray(np.where(numbers > 0, logs, -np.inf))

    @cached_property
    def gain(self) -> FloatArray:
        """(L + 1, S + 1) float64: the gain of a prefix of each length in each state."""
        return np.asarray(self._after(np.arange(self.max_length + 1)) @ self.ways)

    @cached_property
    def end_gain(self) -> FloatArray:
        """(L + 1, S + 1) float64: the same for the word that ends with the prefix."""
        return np.asarray(self._after(np.arange(self.max_length + 1))[:, :1] * self.ways[:1])

    def gain_within(
        self, states: IntArray, length: int, target: Graph, target_states: IntArray, limit: int | None = None
    ) -> FloatArray:
        """(N,) float64: the gain of N prefixes, counting only completions that a second graph accepts, too.

        Args:
            states: (N,) the state of each prefix in the program's graph, or `NOWHERE`.
            length: the number of symbols in each prefix.
            target: the second graph.
            target_states: (N,) the state in which it reads the completion.
            limit: the most symbols in a completion; None for any number.
        """
        longest = self.max_length - length if limit is None else min(limit, self.max_length - length)
        joint = _joint(states, target_states, len(target))
        ways = ways_to_end(_product(self.graph, target), longest)
        return np.asarray(self._after(np.array([length]))[0, : longest + 1] @ ways[:, joint])

    def gain_up_to(self, states: IntArray, length: int, limit: int) -> FloatArray:
        """(N,) float64: the gain of N prefixes, counting only completions of at most ``limit`` symbols."""
        longest = min(limit, self.max_length - length)
        return np.asarray(self._after(np.array([length]))[0, : longest + 1] @ self.ways[: longest + 1, states])

    def _after(self, lengths: IntArray) -> FloatArray:
        """(M, L + 1): for prefixes of M lengths and completions of n symbols, 1 / (number of lengths) / W(start)."""
        numbers = self.ways[:, 0].copy()
        numbers[0] = 0.0
        inverse = np.divide(1.0, numbers, out=np.zeros_like(numbers), where=numbers > 0)
        inverse /= max(int((numbers > 0).sum()), 1)
        total = lengths[:, None] + np.arange(self.max_length + 1)
        return np.where(total <= self.max_length, inverse[np.minimum(total, self.max_length)], 0.0)


class Programs:
    """The programs of conjunctions of some rules, each counted once.

    Args:
        rules: the rules, over the alphabet.
        alphabet: the k symbols.
        max_length: the largest length of a word.

    Raises:
        RuleExtrapError: the length is too large for floating-point numbers.
    """

    def __init__(self, rules: Sequence[Rule], alphabet: tuple[str, ...], max_length: int) -> None:
        most = int(_MOST_DIGITS / np.log10(len(alphabet)))
        if max_length > most:
            raise RuleExtrapError(
                f"max_length is {max_length}, too large for words over {len(alphabet)} symbols: give {most} or less"
            )
        self.rules, self.alphabet, self.max_length = tuple(rules), alphabet, max_length
        self._graphs: dict[RuleSet, Graph] = {}
        self._programs: dict[RuleSet, Program] = {}
        self._log_words: dict[RuleSet, FloatArray] = {}

    def graph(self, kept: RuleSet) -> Graph:
        """Return the states that words reach; those of no rules are one.

        Raises:
            RuleExtrapError: one of the rules has too many states.
        """
        if kept not in self._graphs:
            if len(kept) == 1:
                self._graphs[kept] = self._explored(self.rules[min(kept)])
            elif not kept:
                self._graphs[kept] = _everything(self.alphabet)
            else:
                last = max(kept)
                joint = _product(self.graph(kept - {last}), self.graph(frozenset({last})))
                # Of conjunctions there are many, so only a program keeps its graph.
                return _pruned(joint, self.max_length) if len(joint) > _LARGE else joint
        return self._graphs[kept]

    def program(self, kept: RuleSet) -> Program:
        """Return the program of a conjunction."""
        if kept not in self._programs:
            self._programs[kept] = Program.of(self.graph(kept), self.max_length)
        return self._programs[kept]

    def log_word(self, kept: RuleSet) -> FloatArray:
        """Return `Program.log_word` of a conjunction, without keeping its program."""
        if kept not in self._log_words:
            program = self._programs.get(kept) or Program.of(self.graph(kept), self.max_length)
            self._log_words[kept] = program.log_word
        return self._log_words[kept]

    def implies(self, kept: RuleSet, rule: int) -> bool:
        """Whether each word of a conjunction, up to the length, keeps a rule: then both together have as many words."""
        if rule in kept:
            return True
        return bool(np.allclose(self.log_word(kept), self.log_word(kept | {rule}), rtol=1e-9, atol=0))

    def same_words(self, kept: RuleSet, other: RuleSet) -> bool:
        """Whether two conjunctions have the same words up to the length."""
        return all(self.implies(kept, rule) for rule in other) and all(self.implies(other, rule) for rule in kept)

    def _explored(self, rule: Rule) -> Graph:
        try:
            return explore(rule, self.alphabet, self.max_length).useful()
        except RuleExtrapError:
            raise RuleExtrapError(
                f"the words of up to {self.max_length} symbols cannot be counted, because the rule {rule.summary!r} "
                "has too many states: give a smaller max_length"
            ) from None


def ways_to_end(graph: Graph, longest: int) -> FloatArray:
    """(longest + 1, S + 1) float64: the probability that n uniform symbols lead from a state to the end of a word."""
    ways = np.zeros((longest + 1, len(graph) + 1))
    ways[0, :-1] = graph.accepting
    for n in range(1, longest + 1):
        ways[n, :-1] = ways[n - 1][graph.following].mean(axis=1)
    return ways


def _everything(alphabet: tuple[str, ...]) -> Graph:
    """The graph that accepts every word."""
    following, depth = np.zeros((1, len(alphabet)), np.int64), np.zeros(1, np.int64)
    return Graph(alphabet, (), following, np.ones(1, np.bool_), depth, None)


def _joint(first: IntArray, second: IntArray, size: int) -> IntArray:
    """The number of a pair of states, of which the second has ``size``; `NOWHERE` where one of them is."""
    return np.where((first < 0) | (second < 0), NOWHERE, first * size + second)


def _product(first: Graph, second: Graph) -> Graph:
    """The graph of pairs of states, the second changing fastest; its depths mean nothing."""
    n, m, k = len(first), len(second), len(first.alphabet)
    following = _joint(first.following[:, None, :], second.following[None, :, :], m)
    accepting: BoolArray = (first.accepting[:, None] & second.accepting).ravel()
    return Graph(first.alphabet, (), following.reshape(n * m, k), accepting, np.zeros(n * m, np.int64), None)


def _pruned(graph: Graph, longest: int) -> Graph:
    """Without the states that no word of the length passes through."""
    keep = reachable(graph, 0) & (ways_to_end(graph, longest)[:, :-1] > 0).any(axis=0)
    keep[0] = True
    return graph.take(keep)


def subsets(kept: RuleSet) -> list[RuleSet]:
    """Return all subsets of a conjunction, the empty one and itself among them."""
    rules = sorted(kept)
    return [
        frozenset(rule for rule, stays in zip(rules, choice, strict=True) if stays)
        for choice in product((False, True), repeat=len(rules))
    ]
