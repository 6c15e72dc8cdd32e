"""Several rules read side by side: the conjunction of rules, with or without the empty word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .machine import Machine, State
from .rules import Rule
from .words import PAD_CODE, BoolArray, ByteArray


class Conjunction(Machine):
    """Several rules that read a word side by side; the registers are those of the rules, one rule after the other."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    def start(self, n: int) -> State:
        """Return the start state of every rule."""
        return tuple(register for rule in self.rules for register in rule.start(n))

    def step(self, state: State, codes: ByteArray) -> State:
        """Let every rule read the symbol."""
        parts = zip(self.rules, self.split(state), strict=True)
        return tuple(register for rule, part in parts for register in rule.step(part, codes))

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether every rule holds."""
        parts = zip(self.rules, self.split(state), strict=True)
        return np.asarray(np.logical_and.reduce([rule.accepts(part) for rule, part in parts]))

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether each rule is viable by itself.

        Rules that are each viable may exclude each other. A `Language` decides whether they are viable together.
        """
        parts = zip(self.rules, self.split(state), strict=True)
        return np.asarray(np.logical_and.reduce([rule.alive(part) for rule, part in parts]))

    def split(self, state: State) -> list[State]:
        """Return the state of each rule, in the order of the rules."""
        parts, first = [], 0
        for rule in self.rules:
            size = len(rule.start(0))
            parts.append(state[first : first + size])
            first += size
        return parts


class NonEmpty(Machine):
    """A conjunction that rejects the empty word; the first register holds whether the word has a symbol."""

    def __init__(self, rules: Conjunction) -> None:
        self.rules = rules

    def start(self, n: int) -> State:
        """Return the state before the first symbol."""
        return (np.zeros(n, np.bool_), *self.rules.start(n))

    def step(self, state: State, codes: ByteArray) -> State:
        """Record that the word has a symbol, and let the rules read it."""
        return (state[0] | (codes != PAD_CODE), *self.rules.step(state[1:], codes))

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the word has a symbol and the rules hold."""
        return np.asarray(state[0] & self.rules.accepts(state[1:]))

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether each rule is viable by itself."""
        return self.rules.alive(state[1:])
