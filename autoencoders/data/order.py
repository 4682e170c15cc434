"""The order in which an epoch visits the training rows: a pure function of (seed, epoch).

Rows are read in blocks that lie together on disk. The blocks are shuffled, a window of them is held in
memory, and its rows are shuffled within it; where all rows fit one window the order is a full permutation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autoencoders.data.arrays import Integers, stream

BLOCKS_PER_WINDOW = 16


@dataclass(frozen=True)
class Window:
    """What is in memory at once.

    Attributes:
        blocks: half-open ranges of row numbers, to be read and laid end to end in this order.
        order: the permutation in which the rows so laid are visited.
    """

    blocks: tuple[tuple[int, int], ...]
    order: Integers

    @property
    def rows(self) -> Integers:
        """The row numbers in the order in which they are visited."""
        laid = np.concatenate([np.arange(start, stop, dtype=np.int64) for start, stop in self.blocks])
        return laid[self.order]


def epoch_order(
    rows: int, row_bytes: int, seed: int, epoch: int, window_bytes: int = 256 * 2**20
) -> Iterator[Window]:
    """The windows of one epoch; every row from 0 to `rows` occurs once."""
    draws = stream(seed, "order", epoch)
    window_rows = max(1, window_bytes // row_bytes)
    if rows <= window_rows:
        yield Window(((0, rows),), draws.permutation(rows))
        return
    block_rows = max(1, window_rows // BLOCKS_PER_WINDOW)
    blocks = draws.permutation(math.ceil(rows / block_rows))
    for first in range(0, len(blocks), BLOCKS_PER_WINDOW):
        ranges = tuple(
            (int(block) * block_rows, min(rows, (int(block) + 1) * block_rows))
            for block in blocks[first : first + BLOCKS_PER_WINDOW]
        )
        yield Window(ranges, draws.permutation(sum(stop - start for start, stop in ranges)))
