"""Languages of finitely many states."""

from __future__ import annotations

from functools import cached_property

from .conjunction import Conjunction
from .language import Language
from .machine import State
from .viability import Finite
from .words import BoolArray


class Regular(Language):
    """A language with finitely many states in which each rule is viable, so that its own viability is computed.

    Its rules may have more states than that: one may hold the counter of another in check.
    """

    level = "regular"

    @cached_property
    def _viability(self) -> Finite:
        return Finite(Conjunction(self.rules), self.alphabet)

    def alive(self, state: State) -> BoolArray:
        """A word of the language can be reached."""
        return self._viability.alive(state)
