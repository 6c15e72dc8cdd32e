"""What a dataset repository's card says of the files beside it: their sizes, and a digest of their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SplitContents:
    """The files of one split.

    Attributes:
        name: the split's name.
        num_bytes: bytes of its rows in memory, as Arrow holds them.
        num_examples: its rows.
    """

    name: str
    num_bytes: int
    num_examples: int


@dataclass(frozen=True)
class ConfigContents:
    """The files of one configuration, for the ``dataset_info`` of the card.

    The cache of `datasets` tells two folders of the same name apart by their cards alone. So the card states a
    digest of the files, and files of other content have another entry in the cache.

    Attributes:
        config_name: the configuration's name.
        splits: one entry for each split.
        download_size: bytes of all files on the disk.
        digest: SHA-256, in hexadecimal digits, of the files' own SHA-256 digests.
    """

    config_name: str
    splits: tuple[SplitContents, ...]
    download_size: int
    digest: str

    @property
    def dataset_size(self) -> int:
        """Bytes of all rows in memory."""
        return sum(split.num_bytes for split in self.splits)

    @classmethod
    def read(cls, config_name: str, files: Mapping[str, Iterable[Path]]) -> ConfigContents:
        """Read the Parquet files of a configuration, one at a time.

        Args:
            config_name: the configuration's name.
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
