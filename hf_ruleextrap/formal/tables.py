"""Look-up tables of several machines, which read many words in one pass over the symbols.

A table is derived from a machine by exploring the states of the machine (`graph.explore`), so a table is not a second
definition of a rule. A word that leaves the explored states has an unknown verdict, and the machine itself must read
the word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graph import Graph, explore
from .machine import Machine
from .words import BoolArray, ByteArray, IntArray, WordBatch, flat_codes, symbol_codes

_LONGEST_EXPLORED = 512
MOST_TABLE_STATES = 1 << 15
_ACCEPTS, _ALIVE, _UNKNOWN = 1, 2, 4


@dataclass(frozen=True, eq=False)
class FlatWords:
    """N words in one row of codes.

    Attributes:
        codes: (C,) uint8, the symbol codes of all words, possibly with padding between the words.
        first: (N,) int64, the position of the first symbol of each word.
        lengths: (N,) int64, the number of symbols in each word.
    """

    codes: ByteArray
    first: IntArray
    lengths: IntArray

    @classmethod
    def of(cls, words: WordBatch | Sequence[str]) -> FlatWords:
        """Return the words of a batch, whose codes are not copied, or of strings."""
        if isinstance(words, WordBatch):
            rows, width = words.codes.shape
            return cls(np.ascontiguousarray(words.codes).reshape(-1), np.arange(rows) * width, words.lengths)
        lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
        return cls(flat_codes("".join(words)), lengths.cumsum() - lengths, lengths)


@dataclass(frozen=True, eq=False)
class Verdict:
    """The verdicts of M machines on N words: three arrays, (N, M) bool.

    Attributes:
        accepts: Whether the machine accepts the word.
        alive: Whether the prefix is viable.
        unknown: Whether the word left the explored states; the other two arrays are then False.
    """

    accepts: BoolArray
    alive: BoolArray
    unknown: BoolArray


class Tables:
    """The tables of M machines over one alphabet, explored to a length and to a number of states.

    Args:
        machines: Rules, or a language.
        alphabet: The k symbols. A machine passes over all other characters.
        max_length: The length of the longest word; lengths over 512 symbols are not explored.

    Attributes:
        start: (M',) int32, the states of the empty word. M' is M rounded up to a multiple of 4.

    >>> from hf_ruleextrap.formal.rules import equal_counts, ordered
    >>> tables = Tables([equal_counts("a", "b"), ordered("a", "b")], "ab", 8)
    >>> states, foreign = tables.read(FlatWords.of(["ab", "ba", "bxb"]))
    >>> tables.verdict(states).accepts.tolist(), foreign.tolist()
    ([[True, True], [True, False], [False, True]], [False, False, True])
    """

    def __init__(self, machines: Sequence[Machine], alphabet: Sequence[str], max_length: int) -> None:
        self._column = np.full(256, len(alphabet), np.uint8)
        self._column[symbol_codes(alphabet)] = np.arange(len(alphabet))
        self._width = len(alphabet) + 1
        following, verdicts, start = [], [], []
        cells = 0
        for machine in machines:
            graph = explore(
                machine, alphabet, min(max_length, _LONGEST_EXPLORED), most_states=MOST_TABLE_STATES, shorten=True
            )
            start.append(cells)
            following.append(cells + self._width * _next_states(graph))
            verdicts.append(_verdicts(graph))
            cells += following[-1].size
        self._next_states = np.concatenate([table.ravel() for table in following]).astype(np.int32)
        self._verdicts = np.concatenate(verdicts)
        # The compiled loop takes four machines at a time; the state of the last one fills the rest.
        self._machines = len(start)
        self.start = np.array(start + start[-1:] * (-len(start) % 4), np.int32)

    def read(
        self, words: FlatWords, states: npt.NDArray[np.int32] | None = None
    ) -> tuple[npt.NDArray[np.int32], BoolArray]:
        """Read N words.

        Args:
            words: The words.
            states: (N, M') int32, the states before the words, as an earlier call returned them; by default, the start.

        Returns:
            (N, M') int32, the states after the words; and (N,) bool, whether a word holds a character outside the
            alphabet.
        """
        from ._scan import scan

        n = len(words.lengths)
        states = np.tile(self.start, (n, 1)) if states is None else states.copy()
        foreign = np.zeros(n, np.bool_)
        scan(words.codes, words.first, words.lengths, self._column, self._next_states, states, foreign)
        return states, foreign

    def verdict(self, states: npt.NDArray[np.int32]) -> Verdict:
        """Return the verdicts on N words from the (N, M') states after the words."""
        bits = self._verdicts[states[:, : self._machines] // self._width]
        return Verdict((bits & _ACCEPTS) > 0, (bits & _ALIVE) > 0, (bits & _UNKNOWN) > 0)


def _next_states(graph: Graph) -> IntArray:
    """Return (S + 2, k + 1) int64: the next states.

    State S is the state of prefixes that are not viable, and state S + 1 is the state of words with an unknown verdict.
    """
    size = len(graph)
    table = np.where(graph.following < 0, size, graph.following)
    # The graph does not hold the states after the longest words that were explored.
    table[graph.depth == graph.max_length] = size + 1
    ends = np.array([[size], [size + 1]]).repeat(table.shape[1], axis=1)
    return np.column_stack([np.vstack([table, ends]), np.arange(size + 2)])


def _verdicts(graph: Graph) -> ByteArray:
    """Return (S + 2,) uint8: the verdict on a word that ends in each state, as bits."""
    bits = np.where(graph.accepting, _ACCEPTS | _ALIVE, _ALIVE)
    return np.append(bits, [0, _UNKNOWN]).astype(np.uint8)
