"""Parquet files: written completely or not at all, also for draws larger than memory, and described for cards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
"""The number of words in a shard, which takes a few hundred megabytes of memory for any number of shards."""

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

    The words of a shard depend only on the arguments and the number of the shard, and a shard gets its name when the
    file is complete. Therefore a repeated call resumes an interrupted one and ends with the same bytes.

    Args:
        language: The language of the words, which must have many words.
        folder: The folder for the shards. Shards of a draw with other arguments are replaced.
        size: The number of words in all shards together.
        max_length: The largest number of symbols in a word.
        seed: The random seed for drawing words.
        held_out: The words that are not drawn (`Splits.held_out`).
        columns: The function that returns the columns of a batch of words.
        shard_words: The number of words in a shard; the last shard may have fewer.

    Returns:
        The shards, in order.

    Raises:
        RuleExtrapError: If the language has too few words of at most ``max_length`` symbols.
        RuleExtrapError: If the disk is full; complete shards stay.
    """
    from tqdm.auto import tqdm

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    count = -(-size // shard_words)
    held_out_digest = hashlib.sha256(held_out.tobytes()).hexdigest()[:16]
    paths = [folder / file_name("train", shard, count) for shard in range(count)]
    with tqdm(total=size, unit="word", unit_scale=True, desc=f"{language.name}: train", disable=None) as bar:
        for shard, path in enumerate(paths):
            rows = min(shard_words, size - shard * shard_words)
            note = f"{__version__} {language.name} {max_length} {seed} {held_out_digest} {shard} {shard_words} {rows}"
            if _note_of(path) != note:
                rng = np.random.default_rng([seed, shard])
                words = draw_train_words(language, rows, max_length=max_length, held_out=held_out, rng=rng)
                write_table(columns(language, words), path, note=note)
            bar.update(rows)
    return paths


def file_name(split: str, number: int = 0, count: int = 1) -> str:
    """Return the name of a file of a split that has ``count`` files, as `datasets` names them."""
    return f"{split}-{number:05}-of-{count:05}.parquet"


def is_table(path: Path) -> bool:
    """Return whether `write_table` wrote a file for a split, or its draft."""
    if path.is_symlink() or not path.is_file() or not _NAME.fullmatch(path.name):
        return False
    return path.suffix == ".part" or _note_of(path) is not None


def write_table(columns: dict[str, Any], path: Path, *, note: str = __version__) -> None:
    """Write a Parquet file, completely or not at all.

    Args:
        columns: Arrays or lists of equal length, at least 1; the rows of a list may be lists of strings.
        path: The file.
        note: A text for the file's metadata, which marks the file as one of this package.
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
    """Return words as an Arrow column, without creating a Python string for each word."""
    import pyarrow as pa

    ends = np.concatenate([[0], words.lengths.cumsum()]).astype(np.int32)
    flat = words.codes[np.arange(words.codes.shape[1]) < words.lengths[:, None]]
    return pa.StringArray.from_buffers(len(words), pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(flat)))


def _note_of(path: Path) -> str | None:
    """Return the note of a complete file; None if the file is absent, incomplete, or has no note."""
    import pyarrow as pa
    from pyarrow.parquet import read_metadata

    try:
        metadata = read_metadata(path).metadata
    except (OSError, pa.ArrowInvalid):
        return None
    return (metadata or {}).get(_NOTE, b"").decode() or None


@dataclass(frozen=True)
class SplitContents:
    """The files of one split.

    Attributes:
        name: The name of the split.
        path: The path in the repository, with a star for the numbers of several files.
        num_bytes: The size of the rows in memory, in Arrow's format.
        num_examples: The number of rows.
    """

    name: str
    path: str
    num_bytes: int
    num_examples: int


@dataclass(frozen=True)
class ConfigContents:
    """The files of one configuration, for the ``dataset_info`` of the card.

    The cache of `datasets` distinguishes two folders of the same name only by their cards. Therefore the card states a
    digest of the files, which gives files of other content another entry in the cache.

    Attributes:
        config_name: The name of the configuration.
        splits: One entry for each split.
        download_size: The size of all files on the disk, in bytes.
        digest: The SHA-256 digest, in hexadecimal digits, of the files' SHA-256 digests.
    """

    config_name: str
    splits: tuple[SplitContents, ...]
    download_size: int
    digest: str

    @property
    def dataset_size(self) -> int:
        """The size of all rows in memory, in bytes."""
        return sum(split.num_bytes for split in self.splits)

    @classmethod
    def read(cls, config_name: str, files: Mapping[str, Sequence[Path]]) -> ConfigContents:
        """Read the Parquet files of a configuration, one at a time.

        Args:
            config_name: The name of the configuration.
            files: The files of each split, in the order of their rows.

        Raises:
            OSError: If a file cannot be read.
        """
        from pyarrow.parquet import read_table

        digest, download_size, splits = hashlib.sha256(), 0, []
        for name, paths in files.items():
            num_bytes = num_examples = 0
            for path in paths:
                table = read_table(path)
                num_bytes, num_examples = num_bytes + table.nbytes, num_examples + table.num_rows
                download_size += path.stat().st_size
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            first, count = paths[0], len(paths)
            pattern = first.name if count == 1 else f"{name}-*-of-{count:05}.parquet"
            splits.append(SplitContents(name, f"{first.parent.name}/{pattern}", num_bytes, num_examples))
        return cls(config_name, tuple(splits), download_size, digest.hexdigest())
