"""Parquet files of words, written whole or not at all, and draws too large for memory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ruleextrap import __version__
from hf_ruleextrap.data import Fingerprints, draw_train_words
from hf_ruleextrap.files import replacing
from hf_ruleextrap.formal import Language, WordBatch

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_WORDS = 100_000
"""Words in a shard: some hundred megabytes of memory while it is made, whatever the number of shards."""

_NOTE = b"hf_ruleextrap"
_NAME = re.compile(r"(train|validation|test|id|ood)-\d{5}-of-\d{5}\.(parquet|part)")


def write_shards(
    language: Language,
    folder: str | Path,
    *,
    size: int,
    max_length: int,
    seed: int,
    held_out: Fingerprints,
    columns: Callable[[Language, WordBatch], dict[str, Any]],
    shard_words: int = SHARD_WORDS,
) -> list[Path]:
    """Draw train words to ``train-00000-of-NNNNN.parquet`` and so on, one shard in memory at a time.

    A shard's words depend on the arguments and its number alone, and it gets its name when it is complete. So a call
    that was cut off goes on where it was, and ends with the bytes of one that was not.

    Args:
        language: what to draw; not one with few words.
        folder: where the shards go. Shards of a draw with other arguments are replaced.
        size: words in all.
        max_length: most symbols in a word.
        seed: of the draw.
        held_out: words that are not drawn (`Splits.held_out`).
        columns: of a batch of words.
        shard_words: words in a shard; the last may have fewer.

    Returns:
        The shards, in order.

    Raises:
        RuleExtrapError: ``max_length`` gives too few words.
        RuleExtrapError: the disk is full; what is complete stays.
    """
    from tqdm.auto import tqdm

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    count = -(-size // shard_words)
    left_out = hashlib.sha256(held_out.tobytes()).hexdigest()[:16]
    paths = [folder / f"train-{shard:05}-of-{count:05}.parquet" for shard in range(count)]
    with tqdm(total=size, unit="word", unit_scale=True, desc=f"{language.name}: train") as bar:
        for shard, path in enumerate(paths):
            rows = min(shard_words, size - shard * shard_words)
            note = f"{__version__} {language.name} {max_length} {seed} {left_out} {shard} {shard_words} {rows}"
            if _note_of(path) != note:
                rng = np.random.default_rng([seed, shard])
                words = draw_train_words(language, rows, max_length=max_length, held_out=held_out, rng=rng)
                write_table(columns(language, words), path, note=note)
            bar.update(rows)
    return paths


def is_table(path: Path) -> bool:
    """Whether a file is one that `write_table` wrote for a split, or the draft of one."""
    if path.is_symlink() or not path.is_file() or not _NAME.fullmatch(path.name):
        return False
    return path.suffix == ".part" or _note_of(path) is not None


def write_table(columns: dict[str, Any], path: Path, *, note: str = __version__) -> None:
    """Write a Parquet file; under its name there is never part of one.

    Args:
        columns: arrays or lists of one length, at least 1; a list's rows may be lists of strings.
        path: where.
        note: kept in the file's metadata, by which the file is known as one of this package.
    """
    import pyarrow as pa
    from pyarrow.parquet import write_table as write

    arrays = {
        name: pa.array(values, type=pa.list_(pa.string()) if isinstance(values[0], list) else None)
        for name, values in columns.items()
    }
    table = pa.table(arrays)
    with replacing(path) as draft:
        write(table.replace_schema_metadata({_NOTE: note}), draft)


def text_column(words: WordBatch) -> pa.StringArray:
    """Words as an Arrow column, without a Python string for each."""
    import pyarrow as pa

    ends = np.concatenate([[0], words.lengths.cumsum()]).astype(np.int32)
    flat = words.codes[np.arange(words.codes.shape[1]) < words.lengths[:, None]]
    return pa.StringArray.from_buffers(len(words), pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(flat)))


def _note_of(path: Path) -> str | None:
    """The note of a complete file; None where there is none, or a torn one."""
    import pyarrow as pa
    from pyarrow.parquet import read_metadata

    try:
        held = read_metadata(path).metadata
    except (OSError, pa.ArrowInvalid):
        return None
    return (held or {}).get(_NOTE, b"").decode() or None
