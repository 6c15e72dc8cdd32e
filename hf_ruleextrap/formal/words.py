"""Words as arrays: a padded matrix of symbol codes, and the length of each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from hf_ruleextrap.errors import RuleExtrapError, described

ByteArray: TypeAlias = npt.NDArray[np.uint8]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]

PAD_CODE = 0
"""The code in the padded places of a batch. This code never stands for a symbol."""

FOREIGN_CODE = 0x1A
"""The code of a character that no alphabet can hold (the SUBSTITUTE character of ASCII)."""

# The largest numbers of rows and of matrix cells that are read together, so that the registers stay in the cache.
_ROWS, _CELLS = 1 << 14, 1 << 22

FEWEST_SYMBOLS = 1 << 22
"""The number of symbols from which compiled loops are faster, with the time to load numba and to explore states."""


@dataclass(frozen=True, eq=False)
class WordBatch:
    """N words, padded on the right.

    A symbol is one printable ASCII character, and the code of a symbol is its ASCII code. A batch can therefore be read
    without an alphabet, and strings become matrices without a look-up table.

    Attributes:
        codes: (N, T) uint8, the symbol codes, and ``PAD_CODE`` after the last symbol of each row.
        lengths: (N,) int64, the number of symbols in each row.

    >>> batch = WordBatch.from_strings(["aabb", "b", ""])
    >>> batch.codes.shape, batch.lengths.tolist()
    ((3, 4), [4, 1, 0])
    >>> list(batch)
    ['aabb', 'b', '']
    """

    codes: ByteArray
    lengths: IntArray

    @classmethod
    def from_strings(cls, texts: Sequence[str]) -> WordBatch:
        """Return a batch of strings. Each character is one symbol; a character outside ASCII has ``FOREIGN_CODE``.

        Raises:
            RuleExtrapError: If a row is not a string. The message names the row.
        """
        try:
            joined = "".join(texts)
        except TypeError:
            row, value = next((i, t) for i, t in enumerate(texts) if not isinstance(t, str))
            message = f"row {row} is {type(value).__name__}, not a string: give one string for each word"
            raise RuleExtrapError(message) from None
        flat = flat_codes(joined)
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        return cls.from_flat(flat, lengths)

    @classmethod
    def from_flat(cls, flat: ByteArray, lengths: IntArray) -> WordBatch:
        """Return a batch from one array that holds the codes of all words, one word after the other.

        Args:
            flat: (sum of lengths,) uint8, the symbol codes.
            lengths: (N,) int64, the number of symbols in each word.
        """
        width = int(lengths.max(initial=0))
        codes = np.full((len(lengths), width), PAD_CODE, dtype=np.uint8)
        codes[np.arange(width) < lengths[:, None]] = flat
        return cls(codes, lengths)

    @classmethod
    def from_codes(cls, codes: ByteArray, lengths: IntArray) -> WordBatch:
        """Return a batch from a matrix of codes; the codes after the last symbol of each row are ignored.

        >>> list(WordBatch.from_codes(np.array([[97, 98, 99]], np.uint8), np.array([2])))
        ['ab']
        """
        width = int(lengths.max(initial=0))
        padded = np.where(np.arange(width) < lengths[:, None], codes[:, :width], np.uint8(PAD_CODE))
        return cls(padded, lengths.astype(np.int64))

    @classmethod
    def from_ids(cls, ids: npt.ArrayLike | Sequence[npt.ArrayLike], alphabet: Sequence[str]) -> WordBatch:
        """Return a batch from symbol indices. Index 0 is ``alphabet[0]``. A row ends before its first negative index.

        Args:
            ids: (N, T) integers, or N sequences of integers, of any lengths.
            alphabet: The symbols, in order.

        Raises:
            RuleExtrapError: If an index has no symbol.

        >>> list(WordBatch.from_ids([[0, 0, 1], [1, -1, -1]], "ab"))
        ['aab', 'b']
        """
        matrix = _integer_matrix(ids)
        if loops := compiled_loops(matrix.size):
            codes, lengths = np.zeros(matrix.shape, np.uint8), np.zeros(len(matrix), np.int64)
            if loops.read_ids(matrix, symbol_codes(alphabet), codes, lengths):
                return cls(codes[:, : int(lengths.max())], lengths)
        outside = matrix >= len(alphabet)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            allowed = ", ".join(f"{i} = {s}" for i, s in enumerate(alphabet))
            raise RuleExtrapError(
                f"row {row} holds the symbol index {matrix[row, column]}: allowed are {allowed}, "
                "and negative numbers after the end of a word"
            )
        ended = matrix < 0
        # A last column of True ends the rows that have no negative index, and makes argmax defined for rows of width 0.
        ended = np.pad(ended, ((0, 0), (0, 1)), constant_values=True)
        lengths = ended.argmax(axis=1).astype(np.int64)
        table = np.zeros(256, np.uint8)
        table[: len(alphabet)] = symbol_codes(alphabet)
        return cls.from_codes(table.take(matrix.astype(np.uint8), mode="clip"), lengths)

    @classmethod
    def of(cls, words: Words, alphabet: Sequence[str] | None = None, *, allow_foreign: bool = False) -> WordBatch:
        """Return a batch from a batch, from strings, or from integer arrays, which need an alphabet.

        Args:
            words: The words.
            alphabet: The symbols of the words.
            allow_foreign: Whether strings may hold characters outside the alphabet.

        Raises:
            RuleExtrapError: If the words are a single string, or integers without an alphabet, or a word holds an index
                or a symbol outside the alphabet.

        >>> list(WordBatch.of(["ab"])), list(WordBatch.of(np.array([[0, 1]]), "ab"))
        (['ab'], ['ab'])
        >>> WordBatch.of(["axb"], "ab")
        Traceback (most recent call last):
        hf_ruleextrap.errors.RuleExtrapError: row 0: 'x' is not a symbol of the alphabet {a, b}
        """
        if isinstance(words, WordBatch):
            batch = words
        elif _holds_integers(rows := rows_of(words, "words")):
            if alphabet is None:
                raise RuleExtrapError("integer words need an alphabet: give strings, or call a method of a language")
            batch = cls.from_ids(rows, alphabet)
        else:
            batch = cls.from_strings(cast("Sequence[str]", rows))
        if alphabet is not None and not allow_foreign:
            foreign = batch.foreign(alphabet)
            if foreign.any():
                row = int(foreign.argmax())
                symbols = ", ".join(alphabet)
                text = batch[row] if isinstance(words, WordBatch) else str(rows[row])
                foreign_symbol = next((s for s in text if s not in alphabet), text)
                raise RuleExtrapError(f"row {row}: {foreign_symbol!r} is not a symbol of the alphabet {{{symbols}}}")
        return batch

    def foreign(self, alphabet: Sequence[str]) -> BoolArray:
        """Return (N,) bool: whether the row holds a character outside the alphabet."""
        inside = self.codes == PAD_CODE
        for symbol in alphabet:
            inside |= self.codes == ord(symbol)
        return np.asarray(~inside.all(axis=1))

    def without_foreign(self, alphabet: Sequence[str]) -> WordBatch:
        """Return the same rows without the characters outside the alphabet.

        >>> batch = WordBatch.from_codes(np.array([[97, 255, 98], [255, 97, 97]], dtype=np.uint8), np.array([3, 3]))
        >>> list(batch.without_foreign("ab"))
        ['ab', 'aa']
        """
        inside = np.isin(self.codes, [ord(symbol) for symbol in alphabet])
        return WordBatch.from_flat(self.codes[inside], inside.sum(axis=1))

    def take(self, rows: IntArray | BoolArray | slice) -> WordBatch:
        """Return the batch of some rows, which NumPy indexing selects."""
        lengths = self.lengths[rows]
        return WordBatch(self.codes[:, : int(lengths.max(initial=0))][rows], lengths)

    def followed_by(self, suffixes: WordBatch) -> WordBatch:
        """Return each row followed by the same row of another batch, which has the same number of rows.

        >>> list(WordBatch.from_strings(["a", ""]).followed_by(WordBatch.from_strings(["bb", "a"])))
        ['abb', 'a']
        """
        lengths = self.lengths + suffixes.lengths
        codes = np.full((len(self), int(lengths.max(initial=0))), PAD_CODE, dtype=np.uint8)
        codes[:, : self.codes.shape[1]] = self.codes
        place = np.arange(codes.shape[1])
        inside = (place >= self.lengths[:, None]) & (place < lengths[:, None])
        codes[inside] = suffixes.codes[np.arange(suffixes.codes.shape[1]) < suffixes.lengths[:, None]]
        return WordBatch(codes, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> str:
        return self.codes[row, : self.lengths[row]].tobytes().decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, (self[i] for i in range(min(3, len(self))))))
        return f"WordBatch({len(self)} words: {shown}{', …' if len(self) > 3 else ''})"


Words: TypeAlias = WordBatch | Sequence[str] | Sequence[npt.ArrayLike] | npt.NDArray[np.integer]
"""The types of words that every function accepts: a batch, strings, or arrays of symbol indices."""


def pieces(words: WordBatch | Sequence[str]) -> Iterator[tuple[IntArray, WordBatch]]:
    """Yield batches of words of similar length that fit into the cache of a processor, each with the rows of its words.

    A very long word widens only its own batch. The last batch holds the longest word.

    >>> [(rows.tolist(), list(batch)) for rows, batch in pieces(["abb", "", "a"])]
    [([1, 2, 0], ['', 'a', 'abb'])]
    """
    if isinstance(words, WordBatch):
        lengths = words.lengths
    else:
        lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    order = lengths.argsort(kind="stable")
    first = 0
    while first < len(order):
        rows = order[first : first + _ROWS]
        # Halve the number of rows until the batch is small enough or has one row.
        while len(rows) > 1 and len(rows) * int(lengths[rows[-1]]) > _CELLS:
            rows = rows[: len(rows) // 2]
        first += len(rows)
        yield (
            rows,
            words.take(rows) if isinstance(words, WordBatch) else WordBatch.from_strings([words[i] for i in rows]),
        )


def concatenate(batches: Sequence[WordBatch]) -> WordBatch:
    """Return one batch with the rows of several batches, in order.

    >>> list(concatenate([WordBatch.from_strings(["ab"]), WordBatch.from_strings(["b", "aab"])]))
    ['ab', 'b', 'aab']
    """
    width = max((b.codes.shape[1] for b in batches), default=0)
    padded = [np.pad(b.codes, ((0, 0), (0, width - b.codes.shape[1]))) for b in batches]
    return WordBatch(np.concatenate(padded), np.concatenate([b.lengths for b in batches]))


def compiled_loops(symbols: int) -> ModuleType | None:
    """Return the module of compiled loops, or None for fewer than ``FEWEST_SYMBOLS`` symbols.

    The result is also None where numba is not installed, and in the published metric, which is one file without this
    module.
    """
    if symbols < FEWEST_SYMBOLS:
        return None
    try:
        from . import _scan
    except ImportError:
        return None
    return _scan


def symbol_codes(alphabet: Sequence[str]) -> ByteArray:
    """Return (k,) uint8: the code of each symbol.

    >>> symbol_codes("ab").tolist()
    [97, 98]
    """
    return np.frombuffer("".join(alphabet).encode("ascii"), dtype=np.uint8)


def flat_codes(text: str) -> ByteArray:
    """Return the code of each character; a character outside ASCII has ``FOREIGN_CODE``."""
    if text.isascii() and "\0" not in text:
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    # NUL is the code of padding, so a NUL character counts as foreign.
    return np.where((points > 0) & (points < 128), points, FOREIGN_CODE).astype(np.uint8)


def rows_of(rows: object, name: str) -> Sequence[Any] | npt.NDArray[Any]:
    """Return the rows of an object whose rows have an order: a list, an array, or a column of a table or of a dataset.

    Args:
        rows: The object that a user passed.
        name: The name of the argument, for the message.

    Returns:
        A list, a tuple, or an array of two or more dimensions.

    Raises:
        RuleExtrapError: If the object is a single string, a set, a mapping, a table or a number, or its rows cannot be
            read.

    >>> rows_of(np.array(["ab", "b"]), "words") == ["ab", "b"]
    True
    >>> rows_of(3, "words")
    Traceback (most recent call last):
    hf_ruleextrap.errors.RuleExtrapError: words is the int 3: give a list with one value for each row
    """
    if type(rows) in (list, tuple):
        return cast("Sequence[Any]", rows)
    if isinstance(rows, str):
        raise RuleExtrapError(f"{name} is a lone string, {described(rows)}: give a list with one value for each row")
    try:
        dimensions = getattr(rows, "ndim", 1)
        if isinstance(rows, np.ndarray) and dimensions > 1:
            return rows
        ordered = all(hasattr(rows, method) for method in ("__len__", "__iter__", "__getitem__"))
        if ordered and dimensions == 1 and not isinstance(rows, (bytes, bytearray, memoryview, Mapping)):
            return list(cast("Sequence[Any]", rows))
    # An object of a foreign class can raise any exception.
    except Exception as error:
        raise RuleExtrapError(f"{name} cannot be read as a list: {described(error)}") from error
    raise RuleExtrapError(
        f"{name} is the {type(rows).__name__} {described(rows)}: give a list with one value for each row"
    )


def _holds_integers(rows: Sequence[Any] | npt.NDArray[Any]) -> bool:
    """Return whether the rows are sequences of symbol indices, not strings."""
    if isinstance(rows, np.ndarray):
        return rows.dtype.kind not in "US"
    if not isinstance(next(iter(rows), ""), (list, tuple, np.ndarray)):
        return False
    # An empty row does not show its type; the first row that is not empty does.
    typed_row = next((row for row in rows if isinstance(row, (list, tuple)) and row), None)
    return typed_row is None or not isinstance(typed_row[0], str)


def _integer_matrix(ids: npt.ArrayLike | Sequence[npt.ArrayLike]) -> npt.NDArray[np.integer]:
    """Return (N, T) integers, padded with -1."""
    if isinstance(ids, np.ndarray):
        matrix = ids
    else:
        rows = [_integers(number, row) for number, row in enumerate(cast("Sequence[npt.ArrayLike]", ids))]
        matrix = np.full((len(rows), max(map(len, rows), default=0)), -1, dtype=np.int64)
        for row, values in enumerate(rows):
            matrix[row, : len(values)] = values
    if matrix.ndim == 2 and matrix.shape[1] == 0:
        # Without columns there are only empty words, and the type of the matrix does not matter.
        return matrix.astype(np.int64)
    if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.integer):
        shape = f"{matrix.ndim} dimension(s) of {matrix.dtype}"
        raise RuleExtrapError(f"integer words have {shape}: give a matrix of integers with one row for each word")
    return matrix


def _integers(number: int, row: npt.ArrayLike) -> IntArray:
    """Return the symbol indices of one row, as (T,) int64."""
    try:
        values = np.asarray(row)
        if values.size == 0 and values.ndim == 1:
            return np.zeros(0, np.int64)
        if values.ndim == 1 and np.issubdtype(values.dtype, np.integer):
            return values.astype(np.int64)
    except (ValueError, TypeError, OverflowError):
        # NumPy makes no array of nested rows with different lengths.
        pass
    raise RuleExtrapError(f"row {number} is {described(row)}: give symbol indices, which are integers")
