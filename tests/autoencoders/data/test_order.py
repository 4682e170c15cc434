"""The order of an epoch."""

import numpy as np
import pytest

from autoencoders.data import epoch_order

SIZES = [(1, 1), (2, 1), (1000, 10_000), (1000, 1000), (1000, 999), (1003, 160), (50, 3), (7, 1)]


def visited(rows: int, window_rows: int, seed: int, epoch: int) -> list[int]:
    windows = epoch_order(rows, 8, seed, epoch, window_bytes=8 * window_rows)
    return [int(row) for window in windows for row in window.rows]


@pytest.mark.parametrize(("rows", "window_rows"), SIZES)
def test_every_row_occurs_once_in_an_epoch(rows: int, window_rows: int) -> None:
    for epoch in range(3):
        assert sorted(visited(rows, window_rows, 7, epoch)) == list(range(rows))


@pytest.mark.parametrize(("rows", "window_rows"), [size for size in SIZES if size[0] > 7])
def test_the_order_is_a_pure_function_of_seed_and_epoch(rows: int, window_rows: int) -> None:
    one = visited(rows, window_rows, 7, 2)
    np.random.seed(0)  # noqa: NPY002  # no global state has a say
    assert one == visited(rows, window_rows, 7, 2)
    assert one != visited(rows, window_rows, 7, 3)
    assert one != visited(rows, window_rows, 8, 2)


@pytest.mark.parametrize(("rows", "window_rows"), SIZES)
def test_no_window_is_larger_than_asked(rows: int, window_rows: int) -> None:
    for window in epoch_order(rows, 8, 0, 0, window_bytes=8 * window_rows):
        held = sum(stop - start for start, stop in window.blocks)
        assert held == len(window.order)
        assert held <= max(16, window_rows)


def test_rows_that_fit_are_one_full_permutation() -> None:
    (window,) = epoch_order(1000, 4, 0, 0)
    assert window.blocks == ((0, 1000),)
    assert abs(np.corrcoef(window.order, np.arange(1000))[0, 1]) < 0.15
