"""Compiled loops over symbols. Importing this module loads numba, so only functions on many words import it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from .words import BoolArray, ByteArray, IntArray

P = ParamSpec("P")
R = TypeVar("R")


def _compiled(loop: Callable[P, R]) -> Callable[P, R]:
    """Compile a function at its first call; the compiled code is kept on disk where a folder for it is writable."""
    try:
        return cast("Callable[P, R]", numba.njit(cache=True, nogil=True)(loop))
    # Neither the package's folder nor the user's folder for caches can be written.
    except RuntimeError:
        return cast("Callable[P, R]", numba.njit(nogil=True)(loop))


@_compiled
def scan(
    codes: ByteArray,
    first: IntArray,
    lengths: IntArray,
    column: ByteArray,
    following: npt.NDArray[np.int32],
    states: npt.NDArray[np.int32],
    foreign: BoolArray,
) -> None:
    """Let M machines read N words, and update the states in place.

    Args:
        codes: (C,) uint8, the symbol codes of all words.
        first: (N,) int64, the position of the first symbol of each word in ``codes``.
        lengths: (N,) int64, the number of symbols in each word.
        column: (256,) uint8, the column of each code; codes outside the alphabet have the last column.
        following: (cells,) int32, the next state for a state and a column, at the index ``state + column``.
        states: (N, M) int32, the states before the words; on return, the states after the words. M is a multiple of 4.
        foreign: (N,) bool; set to True for words that hold a code outside the alphabet.
    """
    outside = column[0]
    for row in range(len(lengths)):
        begin = first[row]
        end = begin + lengths[row]
        # Four states in registers of the processor, whose look-ups overlap.
        for machine in range(0, states.shape[1], 4):
            one, two = states[row, machine], states[row, machine + 1]
            three, four = states[row, machine + 2], states[row, machine + 3]
            strange = False
            for place in range(begin, end):
                symbol = column[codes[place]]
                strange |= symbol == outside
                one, two = following[one + symbol], following[two + symbol]
                three, four = following[three + symbol], following[four + symbol]
            states[row, machine], states[row, machine + 1] = one, two
            states[row, machine + 2], states[row, machine + 3] = three, four
            foreign[row] |= strange


@_compiled
def read_ids(ids: npt.NDArray[np.integer], symbols: ByteArray, codes: ByteArray, lengths: IntArray) -> bool:
    """Translate symbol indices to codes up to the first negative index of each row.

    Args:
        ids: (N, T) integers.
        symbols: (k,) uint8, the code of each index.
        codes: (N, T) uint8, zeros; on return, the symbol codes.
        lengths: (N,) int64; on return, the number of symbols in each row.

    Returns:
        Whether every index, those behind a negative index included, has a symbol or is negative.
    """
    known = True
    for row in range(ids.shape[0]):
        length = 0
        inside = True
        for place in range(ids.shape[1]):
            index = ids[row, place]
            if index < 0:
                inside = False
            elif index >= len(symbols):
                known = False
            elif inside:
                codes[row, place] = symbols[index]
                length += 1
        lengths[row] = length
    return known
