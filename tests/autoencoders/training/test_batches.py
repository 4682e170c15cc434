"""Batches: every row once an epoch, in a pure order, whether rows fit in memory or not."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoencoders.data.scaling import Affine
from autoencoders.training import Batches

FEATURES = 3
WHOLE = 1 << 20
WINDOWED = 16 * 4 * FEATURES * 2
EITHER_WAY = pytest.mark.parametrize("window_bytes", [WHOLE, WINDOWED], ids=["resident", "windows"])


def numbered(rows: int, dtype: Any = np.float32) -> np.ndarray:
    """Rows whose first value is their own number."""
    made = np.zeros((rows, FEATURES), dtype)
    made[:, 0] = np.arange(rows)
    return made


def batches(
    rows: int, window_bytes: int, *, batch_size: int = 7, seed: int = 0, affine: Affine | None = None
) -> Batches:
    affine = affine or Affine(np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32))
    return Batches(numbered(rows), affine, batch_size=batch_size, seed=seed, window_bytes=window_bytes)


def order(made: Batches, epoch: int, skip: int = 0) -> list[list[int]]:
    return [batch[:, 0].int().tolist() for batch in made.epoch(epoch, skip=skip)]


def flat(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


def test_rows_that_fit_one_window_are_kept_and_others_are_not() -> None:
    assert batches(100, WHOLE).resident
    assert not batches(100, WINDOWED).resident


@EITHER_WAY
@pytest.mark.parametrize("rows", [1, 2, 6, 7, 14, 100, 104, 105])
def test_an_epoch_has_every_row_once_in_batches_of_the_size_asked_for(window_bytes: int, rows: int) -> None:
    made = batches(rows, window_bytes)
    found = order(made, 0)
    assert len(found) == made.per_epoch
    assert all(len(batch) == 7 for batch in found[:-1])
    # 1 = 0 * 7 + 1 is all that there is; 106 = 15 * 7 + 1 would leave a row alone, below.
    assert sorted(flat(found)) == list(range(rows))


@EITHER_WAY
def test_a_single_row_is_left_out_rather_than_made_a_batch(window_bytes: int) -> None:
    made = batches(106, window_bytes)
    missing = [set(range(106)) - set(flat(order(made, epoch))) for epoch in range(4)]
    assert made.per_epoch == 15
    assert all(len(rows) == 1 for rows in missing)
    assert len(set.union(*missing)) > 1


@EITHER_WAY
def test_the_order_is_a_pure_function_of_seed_and_epoch(window_bytes: int) -> None:
    assert order(batches(100, window_bytes), 3) == order(batches(100, window_bytes), 3)
    assert order(batches(100, window_bytes), 3) != order(batches(100, window_bytes), 4)
    assert order(batches(100, window_bytes), 3) != order(batches(100, window_bytes, seed=1), 3)
    assert flat(order(batches(100, window_bytes), 3)) != list(range(100))


@EITHER_WAY
@pytest.mark.parametrize("skip", [0, 1, 4, 5, 13, 14, 15])
def test_skipping_batches_leaves_the_others_as_they_were(window_bytes: int, skip: int) -> None:
    made = batches(100, window_bytes)
    assert order(made, 2, skip=skip) == order(made, 2)[skip:]


@EITHER_WAY
def test_batches_are_scaled_float32(window_bytes: int) -> None:
    affine = Affine(np.full(FEATURES, 2.0, np.float32), np.full(FEATURES, 0.5, np.float32))
    rows = numbered(50, np.uint8)
    made = Batches(rows, affine, batch_size=50, seed=0, window_bytes=window_bytes)
    (batch,) = made.epoch(0)
    assert batch.dtype == torch.float32
    assert sorted(batch[:, 0].tolist()) == [(number - 2.0) / 2 for number in range(50)]
    assert batch[0, 1] == -1.0


def test_windows_are_read_from_a_memory_map(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", numbered(200))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    affine = Affine(np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32))
    made = Batches(mapped, affine, batch_size=9, seed=0, window_bytes=WINDOWED)
    assert sorted(flat(order(made, 0))) == list(range(200))


def test_no_more_than_a_few_windows_are_ever_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((100_000, 40), np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    affine = Affine(np.zeros(40, np.float32), np.ones(40, np.float32))
    made = Batches(mapped, affine, batch_size=100, seed=0, window_bytes=1 << 20)
    tracemalloc.start()
    try:
        assert sum(len(batch) for batch in made.epoch(0)) == 100_000
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 5 << 20, "the rows are 16 MB, a window is one"


def test_leaving_an_epoch_early_leaves_no_thread_behind() -> None:
    epoch = batches(100, WINDOWED).epoch(0)
    next(epoch)
    epoch.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rows-ahead")]
