"""All words as one tensor, and the same batches whatever the number of processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from hf_ruleextrap.formal.words import IntArray
from hf_ruleextrap.tokenization import PAD_ID

# A group of rows is worth its own pass from so many tokens and pads on; and no more groups than these.
_GROUP_CELLS, _MOST_GROUPS = 4096, 8
# A row that is only there so that each process has as many.
_NO_ROW = -1


class TokenRows(Dataset[dict[str, torch.Tensor]]):
    """All words as one tensor; a batch is one indexing, cut to its longest word.

    A batch holds ``input_ids`` and ``labels``, (B, T - 1) each: the label at a place is the token that follows the
    input there. The last token of a row is therefore a label and never an input, for nobody reads its output.

    Args:
        rows: (N, T) token ids.
        keep_padding: PAD is a target and nothing is cut.
        keep_width: nothing is cut.
    """

    def __init__(self, rows: IntArray, *, keep_padding: bool, keep_width: bool = False) -> None:
        self.rows = torch.from_numpy(rows)
        self.widths = (self.rows != PAD_ID).sum(dim=1)
        self.keep_padding = keep_padding
        self.keep_width = keep_padding or keep_width

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """The batch of some rows; a row -1 is any word, of which nothing is a target."""
        width = self.rows.shape[1] if self.keep_width else int(self.widths[rows].max())
        ids = self.rows[rows, :width]
        targets = ids[:, 1:]
        ignored = torch.tensor(rows)[:, None] == _NO_ROW
        if not self.keep_padding:
            ignored = ignored | (targets == PAD_ID)
        return {"input_ids": ids[:, :-1], "labels": targets.masked_fill(ignored, -100)}


class Batches(Sampler[list[int]]):
    """The rows of each batch: every epoch in a new order, and each process has its share of every batch.

    The order depends on the seed and the epoch alone, so that two processes train on the very batches of one.

    Args:
        n: how many rows there are.
        batch_size: rows of a whole batch; the last of an epoch may have fewer.
        seed: of the order.
        process: which of the processes this is.
        processes: how many there are.
    """

    def __init__(self, n: int, batch_size: int, *, seed: int, process: int = 0, processes: int = 1) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.process, self.processes = process, processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """The shares of this process, all processes' shares of a batch equally long.

        >>> [list(Batches(5, 4, seed=0, process=i, processes=2)) for i in range(2)]
        [[[2, 3], [1]], [[4, 0], [-1]]]
        """
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n).tolist()
        for first in range(0, self.n, self.batch_size):
            batch = order[first : first + self.batch_size]
            share = batch[self.process :: self.processes]
            yield share + [_NO_ROW] * (-(-len(batch) // self.processes) - len(share))


class BatchLoader(DataLoader[dict[str, torch.Tensor]]):
    """A loader over `Batches`, with the epoch as the Trainer sets it."""

    def __init__(self, data: TokenRows, batches: Batches) -> None:
        super().__init__(data, batch_sampler=batches, collate_fn=_as_it_is)  # type: ignore[arg-type]  # the dataset has made the batch

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch."""
        batches = self.batch_sampler
        assert isinstance(batches, Batches)
        batches.set_epoch(epoch)


def _as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return batch


def by_length(batch: dict[str, torch.Tensor], width: int) -> list[dict[str, torch.Tensor]]:
    """A batch as groups of rows of similar length, each as wide as its longest row.

    Args:
        batch: ``input_ids`` and ``labels`` as of `TokenRows`, (B, T) int64, -100 behind each word.
        width: the inputs of the longest row that there is. It and B alone decide how many groups there are, so that
            all processes run the model equally often.

    >>> ids, labels = torch.tensor([[1, 3, 4], [1, 2, 0]]), torch.tensor([[3, 4, 2], [2, -100, -100]])
    >>> [part["labels"].tolist() for part in by_length({"input_ids": ids, "labels": labels}, 20_000)]
    [[[2]], [[3, 4, 2]]]
    """
    labels = batch["labels"]
    groups = min(_MOST_GROUPS, len(labels), len(labels) * width // _GROUP_CELLS)
    if groups <= 1:
        return [batch]
    lengths = (labels != -100).sum(dim=1)
    parts = lengths.argsort(stable=True).tensor_split(groups)
    # A row without targets has no length; a model wants something to read.
    widths = [max(1, int(lengths[rows].max())) for rows in parts]
    return [
        {name: value[rows, :wide] for name, value in batch.items()} for rows, wide in zip(parts, widths, strict=True)
    ]
