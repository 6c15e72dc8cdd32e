"""The sizes of a dataset repository's files, and a digest of their bytes, for the card."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SplitContents:
    """The files of one split.

    Attributes:
        name: the name of the split.
        num_bytes: the size of the rows in memory, in Arrow's format.
        num_examples: the number of rows.
    """

    name: str
    num_bytes: int
    num_examples: int


@dataclass(frozen=True)
class ConfigContents:
    """The files of one configuration, for the ``dataset_info`` of the card.

    The cache of `datasets` distinguishes two folders of the same name only by their cards. Therefore the card states a
    digest of the files, which gives files of other content another entry in the cache.

    Attributes:
        config_name: the name of the configuration.
        splits: one entry for each split.
        download_size: the size of all files on the disk, in bytes.
        digest: the SHA-256 digest, in hexadecimal digits, of the files' SHA-256 digests.
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
    def read(cls, config_name: str, files: Mapping[str, Iterable[Path]]) -> ConfigContents:
        """Read the Parquet files of a configuration, one at a time.

        Args:
            config_name: the name of the configuration.
            files: the files of each split, in the order of their rows.

        Raises:
            OSError: a file cannot be read.
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
            splits.append(SplitContents(name, num_bytes, num_examples))
        return cls(config_name, tuple(splits), download_size, digest.hexdigest())
