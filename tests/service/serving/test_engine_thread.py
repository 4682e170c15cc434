"""What the event loop and the engine thread each do of the passes, and that neither waits for the other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from service.serving.batcher import Batcher
from service.serving.lane import Awaited
from tests.service.serving.recorded import LONG, TWICE, Recorded, lane_of, rows_of, run
from tests.service.serving.waiting import until


def hold_the_loop(until_then: Callable[[], bool]) -> None:
    """Nothing else runs on the event loop until a condition holds."""
    give_up = time.monotonic() + 30
    while not until_then():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def test_a_long_batch_leaves_the_loop_free_and_the_next_grows_meanwhile() -> None:
    forward = Recorded()
    forward.go.clear()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward, seconds_per_row=LONG)
        first = batcher.submit(lane, rows_of(0), TWICE)
        await until(forward.entered.is_set)
        later = []
        for number in range(1, 6):
            later.append(batcher.submit(lane, rows_of(number), TWICE))
            await asyncio.sleep(0)
        assert batcher.busy
        assert batcher.pressed
        forward.go.set()
        await asyncio.gather(first.future, *(one.future for one in later))

    run(main)
    assert forward.batches == [[0], [1, 2, 3, 4, 5]]


def test_the_device_goes_on_while_the_loop_is_elsewhere() -> None:
    forward = Recorded()

    async def main(batcher: Batcher) -> None:
        large = batcher.submit(lane_of(forward, seconds_per_row=LONG), rows_of(*range(160)), TWICE)
        await asyncio.sleep(0)
        hold_the_loop(lambda: len(forward.batches) == 10)
        assert not large.future.done()
        assert np.array_equal((await large.future)["twice"], 2 * rows_of(*range(160)))

    run(main)


def test_a_short_batch_behind_a_long_one_is_the_loop_s() -> None:
    slow, fast = Recorded(), Recorded()
    slow.go.clear()

    async def main(batcher: Batcher) -> None:
        asked = [batcher.submit(lane_of(slow, seconds_per_row=LONG), rows_of(1), TWICE)]
        await until(slow.entered.is_set)
        asked.append(batcher.submit(lane_of(fast), rows_of(2), TWICE))
        slow.go.set()
        await asyncio.gather(*(one.future for one in asked))

    run(main)
    assert slow.threads == {"engine"}
    assert fast.threads == {threading.main_thread().name}


@pytest.mark.parametrize(("alone", "where"), [(True, threading.main_thread().name), (False, "engine")])
def test_a_request_alone_goes_to_no_thread_for_a_few_milliseconds(alone: bool, where: str) -> None:
    forward = Recorded()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward, seconds_per_row=0.004)
        future = asyncio.get_running_loop().create_future()
        batcher.put(lane, Awaited(rows_of(1), 1, TWICE, future, time.perf_counter()), alone=alone)
        await future

    run(main)
    assert forward.threads == {where}
