"""A batcher and functions of rows that remember what they were given."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np

from service.serving.batcher import Batcher
from service.serving.codecs import Rows
from service.serving.lane import Arrays, Forward, Lane, Wants
from service.serving.pace import Pace
from service.serving.statistics import Statistics

TWICE: Wants = frozenset({"twice"})
BOTH: Wants = frozenset({"twice", "half"})
INSTANTLY, LONG = 1e-9, 10.0


class Recorded:
    """A function of rows that remembers each batch, and may be told to wait or to fail."""

    def __init__(self, factor: float = 2.0) -> None:
        self.factor = factor
        self.batches: list[list[float]] = []
        self.threads: set[str] = set()
        self.entered, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.fails = False

    def __call__(self, rows: Rows, wants: Wants) -> Arrays:
        self.batches.append(rows[:, 0].tolist())
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.go.wait(60)
        if self.fails:
            time.sleep(0.05)  # the loop is told before the next pass ends
            raise MemoryError("no room for this batch")
        made = {"twice": rows * np.float32(self.factor), "half": rows / 2}
        return {name: made[name] for name in wants}


class Steady(Pace):
    """A pace that learns nothing: what passes really take here must not decide where the next one runs."""

    def __init__(self, seconds_per_row: float) -> None:
        super().__init__()
        super().learn(1, seconds_per_row)

    def learn(self, rows: int, seconds: float) -> None:
        pass


def lane_of(forward: Forward, *, seconds_per_row: float = INSTANTLY, most_rows: int = 1000) -> Lane:
    lane = Lane(forward, most_rows, Statistics())
    lane.pace = Steady(seconds_per_row)
    return lane


def rows_of(*values: float) -> Rows:
    return np.array([[value, -value] for value in values], np.float32)


def run(main: Callable[[Batcher], Coroutine[Any, Any, None]], **given: int) -> None:
    async def with_batcher() -> None:
        batcher = Batcher(**{"rows_queued": 100_000, "batch_rows": 16, **given}, prepare=lambda: None)
        try:
            await asyncio.wait_for(main(batcher), 60)
        finally:
            batcher.close()

    asyncio.run(with_batcher())
