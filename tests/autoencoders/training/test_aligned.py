"""What keeps a result's last bit the same in every process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autoencoders.data.scaling import Affine
from autoencoders.training import Batches
from autoencoders.training.aligned import aligned

ROWS, FEATURES = 40, 7


def shifted(offset: int) -> np.ndarray:
    """The same numbers at another address."""
    memory = np.empty(ROWS * FEATURES + 16, dtype=np.float32)
    rows = memory[offset : offset + ROWS * FEATURES].reshape(ROWS, FEATURES)
    rows[...] = np.random.default_rng(0).normal(size=(ROWS, FEATURES))
    return rows


@pytest.mark.parametrize("offset", range(16))
def test_a_product_has_the_same_bits_wherever_the_rows_lay(offset: int) -> None:
    weight = torch.from_numpy(np.random.default_rng(1).normal(size=(FEATURES, 5)).astype(np.float32)).clone()
    rows = aligned(shifted(offset))
    assert rows.data_ptr() % 64 == 0
    assert torch.equal(rows @ weight, aligned(shifted(0)) @ weight)


class Misplaced(Affine):
    """A scaling whose results begin at an address of no vector, as numpy's may."""

    def apply(self, rows: np.ndarray) -> np.ndarray:
        given = super().apply(rows)
        memory = np.empty(given.size + 1, dtype=np.float32)
        moved = memory[1:].reshape(given.shape)
        moved[...] = given
        return moved


def test_batches_from_windows_lie_where_torch_puts_them() -> None:
    affine = Misplaced(np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32))
    batches = Batches(shifted(3), affine, batch_size=8, seed=0, window_bytes=FEATURES * 4 * 16)
    assert not batches.resident
    assert all(batch.data_ptr() % 64 == 0 for batch in batches.epoch(0))
