"""Batches are those of one process, whatever the number of processes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_ruleextrap.train.batches import Batches, BatchLoader, TokenRows


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 3))
def test_the_shares_of_a_batch_are_the_batch(n: int, batch_size: int, processes: int, epoch: int) -> None:
    shares = []
    for process in range(processes):
        batches = Batches(n, batch_size, seed=5, process=process, processes=processes)
        batches.set_epoch(epoch)
        shares.append(list(batches))
        assert len(shares[-1]) == len(batches)
    alone = Batches(n, batch_size, seed=5)
    alone.set_epoch(epoch)
    whole = list(alone)
    assert sorted(row for batch in whole for row in batch) == list(range(n))
    for batch, *parts in zip(whole, *shares, strict=True):
        # Equally long, so that all processes run the model equally often; what was filled in is no row.
        assert len({len(part) for part in parts}) == 1
        assert sorted(row for part in parts for row in part if row >= 0) == sorted(batch)
        assert sum(row < 0 for part in parts for row in part) < processes


def test_every_epoch_has_its_own_order_and_every_seed() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = Batches(50, 50, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(0, 0) == order(0, 0)
    assert len({str(order(seed, epoch)) for seed in range(2) for epoch in range(3)}) == 6


def test_a_row_that_was_filled_in_has_no_target() -> None:
    rows = TokenRows(np.array([[1, 3, 4, 2, 0], [1, 3, 2, 0, 0]]), keep_padding=False)
    batch = rows.__getitems__([1, -1])
    assert batch["labels"][0].tolist() == [3, 2]
    assert (batch["labels"][1] == -100).all()
    padded = TokenRows(rows.rows.numpy(), keep_padding=True).__getitems__([0, -1])
    assert padded["labels"][0].tolist() == [3, 4, 2, 0]
    assert (padded["labels"][1] == -100).all()


def test_the_last_token_of_a_row_is_a_label_and_no_input() -> None:
    rows = TokenRows(np.array([[1, 3, 4, 2, 0], [1, 3, 2, 0, 0]]), keep_padding=False)
    batch = rows.__getitems__([0, 1])
    assert batch["input_ids"].tolist() == [[1, 3, 4], [1, 3, 2]]
    assert batch["labels"].tolist() == [[3, 4, 2], [3, 2, -100]]
    wide = TokenRows(rows.rows.numpy(), keep_padding=False, keep_width=True).__getitems__([1])
    assert wide["input_ids"].tolist() == [[1, 3, 2, 0]]
    assert wide["labels"].tolist() == [[3, 2, -100, -100]]


def test_the_loader_skips_to_where_a_run_was_cut_off() -> None:
    from accelerate import skip_first_batches

    rows = TokenRows(np.arange(20).reshape(10, 2) + 3, keep_padding=True)
    whole, cut = (BatchLoader(rows, Batches(10, 3, seed=0)) for _ in range(2))
    for loader in (whole, cut):
        loader.set_epoch(4)
    expected = [batch["input_ids"] for batch in whole][2:]
    for found, wanted in zip(skip_first_batches(cut, 2), expected, strict=True):
        assert torch.equal(found["input_ids"], wanted)
