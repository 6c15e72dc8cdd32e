"""Languages with finitely many states."""

from __future__ import annotations

from functools import cached_property

from .conjunction import Conjunction
from .language import Language
from .machine import State
from .viability import Finite
from .words import BoolArray


class Regular(Language):
    """A language whose viability is computed from its finitely many states.

    Only the states in which each rule is viable count. A single rule may have infinitely many states, such as a counter
    that another rule bounds.
    """

    level = "regular"

    @cached_property
    def _viability(self) -> Finite:
        return Finite(Conjunction(self.rules), self.alphabet)

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether some suffix leads to a word of the language."""
        return self._viability.alive(state)
