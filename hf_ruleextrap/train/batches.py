"""Token rows in one tensor, and batches that do not depend on the number of processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from hf_ruleextrap.formal.words import IntArray
from hf_ruleextrap.tokenization import PAD_ID

# The smallest number of cells (tokens and pads) for which a separate pass pays off, measured on two cores. The time of
# attention grows with the square of the width, so small groups suit it. A step of a recurrence is hardly faster for
# few rows than for many, so large groups suit it.
_GROUP_CELLS = {"transformer": 2720, "linear": 8192, "lstm": 8192, "xlstm": 8192}
_OTHER_GROUP_CELLS = 4096
# The largest number of groups of one batch.
_MAX_GROUPS = 12
# A placeholder row, which gives every process the same number of rows.
_NO_ROW = -1


class TokenRows(Dataset[dict[str, torch.Tensor]]):
    """The words of a split as one tensor. A batch is one indexing operation, cut to the longest word of the batch.

    A batch holds ``input_ids`` and ``labels``, (B, T - 1) each. The label at a position is the token that follows the
    input at that position. The last token of a row is therefore a label and never an input, because no loss reads the
    output after it.

    Args:
        rows: (N, T) token ids.
        keep_padding: Treat PAD as a target and keep the full width.
        keep_width: Keep the full width.
    """

    def __init__(self, rows: IntArray, *, keep_padding: bool, keep_width: bool = False) -> None:
        self.rows = torch.from_numpy(rows)
        self.widths = (self.rows != PAD_ID).sum(dim=1)
        targets = self.rows[:, 1:]
        self.labels = targets if keep_padding else targets.masked_fill(targets == PAD_ID, -100)
        self.keep_padding = keep_padding
        self.keep_width = keep_padding or keep_width

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """Return the batch of the given row numbers; -1 stands for a word without targets."""
        index = torch.tensor(rows)
        width = self.rows.shape[1] if self.keep_width else int(self.widths[index].max())
        labels = self.labels[index, : width - 1]
        if _NO_ROW in rows:
            labels = labels.masked_fill(index[:, None] == _NO_ROW, -100)
        return {"input_ids": self.rows[index, : width - 1], "labels": labels}


class Batches(Sampler[list[int]]):
    """The row numbers of each batch, in a new order in every epoch; each process gets a share of every batch.

    The order depends only on the seed and the epoch, so that two processes train on the same batches as one process.

    Args:
        n: The number of rows.
        batch_size: The number of rows of a whole batch. The last batch of an epoch may have fewer rows.
        seed: The random seed for the order of the rows.
        process: The index of this process.
        processes: The number of processes.
        shuffled: Whether the order is new in every epoch; otherwise it is that of the rows.
    """

    def __init__(
        self, n: int, batch_size: int, *, seed: int, process: int = 0, processes: int = 1, shuffled: bool = True
    ) -> None:
        self.shuffled = shuffled
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.process, self.processes = process, processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which decides the order of the rows."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this process's share of each batch; the shares of all processes are equally long.

        >>> [list(Batches(5, 4, seed=0, process=i, processes=2)) for i in range(2)]
        [[[2, 3], [1]], [[4, 0], [-1]]]
        """
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.n).tolist() if self.shuffled else range(self.n)
        for first in range(0, self.n, self.batch_size):
            batch = order[first : first + self.batch_size]
            share = list(batch[self.process :: self.processes])
            yield share + [_NO_ROW] * (-(-len(batch) // self.processes) - len(share))


class BatchLoader(DataLoader[dict[str, torch.Tensor]]):
    """A data loader over `Batches` that passes on the epoch that the Trainer sets."""

    def __init__(self, data: TokenRows, batches: Batches) -> None:
        super().__init__(data, batch_sampler=batches, collate_fn=_unchanged)  # type: ignore[arg-type]  # `TokenRows` returns a whole batch

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the batches."""
        batches = self.batch_sampler
        assert isinstance(batches, Batches)
        batches.set_epoch(epoch)


def _unchanged(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return batch


def group_cells(architecture: str) -> int:
    """Return the smallest number of cells of a group of rows for which a separate pass of an architecture pays off."""
    return _GROUP_CELLS.get(architecture, _OTHER_GROUP_CELLS)


def by_length(batch: dict[str, torch.Tensor], width: int, cells: int) -> list[dict[str, torch.Tensor]]:
    """Divide a batch into groups of rows of similar length; each group is as wide as its longest row.

    Args:
        batch: ``input_ids`` and ``labels`` of `TokenRows`, (B, T) int64, with labels -100 after each word.
        width: The number of inputs of the longest row of the whole split. Only ``width``, B and ``cells`` decide the
            number of groups, so that all processes run the model equally often.
        cells: The smallest number of cells of a group if all rows had the width; see `group_cells`.

    >>> ids, labels = torch.tensor([[1, 3, 4], [1, 2, 0]]), torch.tensor([[3, 4, 2], [2, -100, -100]])
    >>> [part["labels"].tolist() for part in by_length({"input_ids": ids, "labels": labels}, width=20, cells=20)]
    [[[2]], [[3, 4, 2]]]
    """
    labels = batch["labels"]
    groups = min(_MAX_GROUPS, len(labels), len(labels) * width // cells)
    if groups <= 1:
        return [batch]
    lengths = (labels != -100).sum(dim=1)
    parts = lengths.argsort(stable=True).tensor_split(groups)
    # A row without targets has length 0, but a model needs at least one input.
    widths = [max(1, int(lengths[rows].max())) for rows in parts]
    return [
        {name: value[rows, :group_width] for name, value in batch.items()}
        for rows, group_width in zip(parts, widths, strict=True)
    ]
