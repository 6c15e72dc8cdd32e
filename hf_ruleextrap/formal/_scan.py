"""Compiled loops over symbols. Importing this module loads numba, so only functions that read many words import it."""

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
    """Return a function that is compiled at its first call. The compiled code is kept on disk if possible."""
    try:
        return cast("Callable[P, R]", numba.njit(cache=True, nogil=True)(loop))
    # Neither the folder of the package nor the cache folder of the user is writable.
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
        following: (cells,) int32, the next state, at the index ``state + column``.
        states: (N, M) int32, the states before the words; on return, the states after the words. M is a multiple of 4.
        foreign: (N,) bool; on return, also True for words that hold a code outside the alphabet.
    """
    outside = column[0]
    for row in range(len(lengths)):
        begin = first[row]
        end = begin + lengths[row]
        # The look-ups of four machines overlap, and their states stay in registers of the processor.
        for machine in range(0, states.shape[1], 4):
            one, two = states[row, machine], states[row, machine + 1]
            three, four = states[row, machine + 2], states[row, machine + 3]
            any_outside = False
            for place in range(begin, end):
                symbol = column[codes[place]]
                any_outside |= symbol == outside
                one, two = following[one + symbol], following[two + symbol]
                three, four = following[three + symbol], following[four + symbol]
            states[row, machine], states[row, machine + 1] = one, two
            states[row, machine + 2], states[row, machine + 3] = three, four
            foreign[row] |= any_outside


@_compiled
def read_ids(ids: npt.NDArray[np.integer], symbols: ByteArray, codes: ByteArray, lengths: IntArray) -> bool:
    """Translate symbol indices to codes up to the first negative index of each row.

    Args:
        ids: (N, T) integers.
        symbols: (k,) uint8, the code of each index.
        codes: (N, T) uint8, zeros; on return, the symbol codes.
        lengths: (N,) int64; on return, the number of symbols in each row.

    Returns:
        Whether every index has a symbol or is negative, including the indices after the first negative index.
    """
    all_in_alphabet = True
    for row in range(ids.shape[0]):
        length = 0
        inside = True
        for place in range(ids.shape[1]):
            index = ids[row, place]
            if index < 0:
                inside = False
            elif index >= len(symbols):
                all_in_alphabet = False
            elif inside:
                codes[row, place] = symbols[index]
                length += 1
        lengths[row] = length
    return all_in_alphabet
