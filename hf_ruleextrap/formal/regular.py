"""Languages of finitely many states."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .graph import explore
from .language import Language
from .machine import State
from .rules import Conjunction
from .words import BoolArray, IntArray

_MOST_STATES = 10_000


class Regular(Language):
    """A language with finitely many states from which each rule is viable, so that its own viability is computed.

    Its rules may have more states than that: two that count may hold each other in check.
    """

    level = "regular"

    @cached_property
    def _viability(self) -> tuple[list[int], list[int], BoolArray] | None:
        """Each register's least value and number of values, and which of their combinations are alive.

        None where a state is alive as soon as each rule is.
        """
        graph = explore(Conjunction(self.rules), self.alphabet, most_states=_MOST_STATES)
        alive = graph.distance >= 0
        if alive.all():
            return None
        registers = [register.astype(np.int64) for register in graph.states]
        lows = [int(register.min()) for register in registers]
        sizes = [int(register.max()) - low + 1 for register, low in zip(registers, lows, strict=True)]
        table = np.zeros(int(np.prod(sizes)), np.bool_)
        table[_place(registers, lows, sizes)[alive]] = True
        return lows, sizes, table

    def alive(self, state: State) -> BoolArray:
        """A word of the language can be reached."""
        each = super().alive(state)
        if self._viability is None:
            return each
        lows, sizes, table = self._viability
        # Where a rule is dead, a register may hold what no viable state has.
        registers = [np.where(each, register, low).astype(np.int64) for register, low in zip(state, lows, strict=True)]
        return each & table[_place(registers, lows, sizes)]


def _place(registers: list[IntArray], lows: list[int], sizes: list[int]) -> IntArray:
    """(N,) the number of each combination of values."""
    place: IntArray = np.zeros(len(registers[0]), np.int64)
    for register, low, size in zip(registers, lows, sizes, strict=True):
        place = place * size + (register - low)
    return place
