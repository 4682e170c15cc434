"""Batches of scaled rows on the device, in an order that is a pure function of seed and epoch.

Where all rows fit one window they are scaled once and stay on the device, and a batch is gathered by a
permutation. Where they do not, windows are read from the memory map ahead of the training by one thread,
kept in the dataset's own type, and scaled a batch at a time: two windows are all that is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from autoencoders.data.arrays import Array, Integers
from autoencoders.data.order import Window, epoch_order
from autoencoders.data.scaling import Affine
from autoencoders.training.aligned import aligned

WINDOW_BYTES = 256 * 1024 * 1024
FLOAT32_BYTES = 4


Blocks = tuple[tuple[int, int], ...]


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Batches in an epoch; a last one of a single row is left out, unless it is the only one."""
    whole, rest = divmod(rows, batch_size)
    return whole + (rest > 1 or (rest == 1 and whole == 0))


class Batches:
    """The training rows of every epoch.

    An epoch has every row once, but for one: a last batch of a single row is left out, since nothing can be
    standardised by one row; it is another row each epoch.

    Args:
        rows: `[rows, features]` in the dataset's units, in memory or mapped.
        affine: the scaling.
        batch_size: rows in a step.
        seed: of the order.
        device: where the model lives.
        window_bytes: scaled bytes of a window.
    """

    def __init__(
        self,
        rows: Array,
        affine: Affine,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self._rows, self._affine, self._seed, self._window_bytes = rows, affine, seed, window_bytes
        self.batch_size, self.device = batch_size, torch.device(device)
        self._row_bytes = FLOAT32_BYTES * int(rows.shape[1])
        self.per_epoch = steps_per_epoch(len(rows), batch_size)
        self._resident = self._resident_rows()

    @property
    def resident(self) -> bool:
        """Whether all rows are on the device."""
        return self._resident is not None

    def epoch(self, epoch: int, *, skip: int = 0) -> Iterator[Tensor]:
        """The epoch's batches from the one numbered `skip` on."""
        if self._resident is None:
            return self._read(epoch, skip)
        return self._gathered(self._resident, epoch, skip)

    def _resident_rows(self) -> Tensor | None:
        if len(self._rows) * self._row_bytes > self._window_bytes:
            return None
        return aligned(self._affine.apply(np.asarray(self._rows)), self.device)

    def _order(self, epoch: int) -> Iterator[Window]:
        return epoch_order(len(self._rows), self._row_bytes, self._seed, epoch, self._window_bytes)

    def _gathered(self, rows: Tensor, epoch: int, skip: int) -> Iterator[Tensor]:
        (window,) = self._order(epoch)
        order = torch.from_numpy(window.rows).to(self.device)
        for number in range(skip, self.per_epoch):
            yield rows.index_select(0, order[number * self.batch_size : (number + 1) * self.batch_size])

    def _read(self, epoch: int, skip: int) -> Iterator[Tensor]:
        """Cut the windows into batches; a batch may begin in one window and end in the next."""
        left, kept = self.per_epoch - skip, self._rows[:0]
        for rows, order in self._windows(epoch, skip * self.batch_size):
            start = 0
            while start < len(order) and left:
                end = start + self.batch_size - len(kept)
                piece = rows[order[start:end]]
                kept = np.concatenate([kept, piece]) if len(kept) else piece
                start = end
                if len(kept) == self.batch_size:
                    yield self._scaled(kept)
                    kept, left = kept[:0], left - 1
        if left:
            yield self._scaled(kept)

    def _scaled(self, rows: np.ndarray) -> Tensor:
        return aligned(self._affine.apply(rows), self.device)

    def _windows(self, epoch: int, skip_rows: int) -> Iterator[tuple[Array, Integers]]:
        """Windows without the epoch's first `skip_rows` rows; the next is read while one is used."""
        with ThreadPoolExecutor(1, thread_name_prefix="rows-ahead") as reader:
            ahead: Future[tuple[Array, Integers]] | None = None
            for blocks, order in self._after(epoch, skip_rows):
                following = reader.submit(self._load, blocks, order)
                if ahead is not None:
                    yield ahead.result()
                ahead = following
            if ahead is not None:
                yield ahead.result()

    def _after(self, epoch: int, skip_rows: int) -> Iterator[tuple[Blocks, Integers]]:
        for window in self._order(epoch):
            if skip_rows < len(window.order):
                yield window.blocks, window.order[skip_rows:]
            skip_rows = max(0, skip_rows - len(window.order))

    def _load(self, blocks: Blocks, order: Integers) -> tuple[Array, Integers]:
        return np.concatenate([self._rows[start:stop] for start, stop in blocks]), order
