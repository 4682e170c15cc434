from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.serving.batcher import Batcher
from service.serving.codecs import Rows
from service.serving.errors import ClientGone, Overloaded
from service.serving.lane import Arrays, Wants
from service.serving.statistics import Statistics
from tests.service.serving.recorded import BOTH, INSTANTLY, LONG, TWICE, Recorded, lane_of, rows_of, run
from tests.service.serving.waiting import until

REQUESTS = st.lists(
    st.tuples(
        st.integers(1, 70),  # rows
        st.integers(0, 2),  # lane
        st.booleans(),  # one array or both
        st.integers(0, 3),  # turns of the loop before the next comes
        st.booleans(),  # whether it leaves at once
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(requests=REQUESTS, batch_rows=st.integers(1, 40), long=st.lists(st.booleans(), min_size=3, max_size=3))
def test_whatever_comes_together_each_gets_its_own_rows(
    requests: list[tuple[int, int, bool, int, bool]], batch_rows: int, long: list[bool]
) -> None:
    forwards = [Recorded(factor) for factor in (2.0, 3.0, 5.0)]
    lanes = [
        lane_of(forward, seconds_per_row=LONG if slow else INSTANTLY)
        for forward, slow in zip(forwards, long, strict=True)
    ]

    async def main(batcher: Batcher) -> None:
        asked = []
        for number, (count, which, both, turns, leaves) in enumerate(requests):
            rows = rows_of(*(1000.0 * number + place for place in range(count)))
            one = batcher.submit(lanes[which], rows, BOTH if both else TWICE)
            if leaves:
                one.leave()
            asked.append((one, rows, which, leaves))
            for _ in range(turns):
                await asyncio.sleep(0)
        for one, rows, which, leaves in asked:
            if leaves:
                with pytest.raises(ClientGone):
                    await one.future
                continue
            made = await one.future
            assert set(made) == one.wants
            assert np.array_equal(made["twice"], rows * np.float32(forwards[which].factor))
            if "half" in made:
                assert np.array_equal(made["half"], rows / 2)
        await until(lambda: not (batcher.busy or batcher.waiting_rows))
        computed = sum(len(batch) for forward in forwards for batch in forward.batches)
        assert computed == sum(len(rows) for _, rows, _, leaves in asked if not leaves)
        assert all(len(batch) <= batch_rows for forward in forwards for batch in forward.batches)
        for lane, which in zip(lanes, range(3), strict=True):
            seen = lane.seen
            assert isinstance(seen, Statistics)
            stayed = [rows for _, rows, lane_number, leaves in asked if lane_number == which and not leaves]
            assert seen.inference_count == sum(len(rows) for rows in stayed)
            assert seen.success.count == len(stayed)
            assert seen.execution_count == len(forwards[which].batches)

    run(main, batch_rows=batch_rows)


def test_what_comes_in_one_turn_is_one_pass() -> None:
    forward = Recorded()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward)
        asked = [batcher.submit(lane, rows_of(number), TWICE) for number in range(10)]
        await asyncio.gather(*(one.future for one in asked))

    run(main)
    assert forward.batches == [[float(number) for number in range(10)]]


def test_one_alone_is_answered_at_once_and_the_first_of_many_is_not() -> None:
    forward = Recorded()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward)
        batcher.answering = {1}
        assert batcher.submit(lane, rows_of(0), TWICE).future.done()
        batcher.answering = {1, 2}
        asked = [batcher.submit(lane, rows_of(number), TWICE) for number in (1, 2)]
        await asyncio.gather(*(one.future for one in asked))

    run(main)
    assert forward.batches == [[0], [1, 2]]


def test_one_row_passes_a_hundred_thousand() -> None:
    forward = Recorded()
    forward.go.clear()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward, seconds_per_row=LONG)
        large = batcher.submit(lane, rows_of(*range(1, 1001)), TWICE)
        await until(forward.entered.is_set)
        small = batcher.submit(lane, rows_of(-7), TWICE)
        ended: list[str] = []
        large.future.add_done_callback(lambda _: ended.append("large"))
        small.future.add_done_callback(lambda _: ended.append("small"))
        forward.go.set()
        await large.future
        assert ended == ["small", "large"]

    run(main)
    assert -7 in forward.batches[1]


def test_the_oldest_comes_to_its_end_whatever_arrives() -> None:
    forward = Recorded()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward)
        oldest = batcher.submit(lane, rows_of(*[1.0] * 80), TWICE)
        flood = []
        for _ in range(1000):
            flood += [batcher.submit(lane, rows_of(2.0), TWICE) for _ in range(16)]
            await asyncio.sleep(0)
            if oldest.future.done():
                break
        assert oldest.future.done()
        # Half of each batch was its.
        assert sum(1 for batch in forward.batches if 1.0 in batch) <= 80 / 8
        await asyncio.gather(*(one.future for one in flood))

    run(main)


def test_models_take_turns() -> None:
    order: list[float] = []

    def remembered(rows: Rows, wants: Wants) -> Arrays:
        order.append(float(rows[0, 0]))
        return {"twice": rows * 2}

    async def main(batcher: Batcher) -> None:
        lanes = [lane_of(remembered, seconds_per_row=LONG) for _ in range(3)]
        asked = [batcher.submit(lanes[0], rows_of(*[1.0] * 160), TWICE)]
        asked += [batcher.submit(lanes[which], rows_of(which + 1.0), TWICE) for which in (1, 2)]
        await asyncio.gather(*(one.future for one in asked))

    run(main)
    assert order[:4] == [1, 2, 3, 1]


def test_rows_whose_client_left_are_never_computed() -> None:
    forward = Recorded()
    forward.go.clear()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward, seconds_per_row=LONG)
        running = batcher.submit(lane, rows_of(0), TWICE)
        await until(forward.entered.is_set)
        waiting = [batcher.submit(lane, rows_of(*[float(number)] * 20), TWICE) for number in (1, 2, 3)]
        cancelled = asyncio.ensure_future(waiting[0].future)
        cancelled.cancel()
        waiting[2].leave()
        forward.go.set()
        await running.future
        await waiting[1].future
        with pytest.raises(ClientGone):
            await waiting[2].future
        assert batcher.waiting_rows == 0

    run(main)
    assert {value for batch in forward.batches for value in batch} == {0, 2}


def test_a_large_request_that_leaves_in_the_middle_is_not_computed_to_its_end() -> None:
    forward = Recorded()
    forward.go.clear()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward, seconds_per_row=LONG)
        large = batcher.submit(lane, rows_of(*range(1600)), TWICE)
        await until(forward.entered.is_set)
        large.leave()
        forward.go.set()
        await batcher.submit(lane, rows_of(-1), TWICE).future
        with pytest.raises(ClientGone):
            await large.future

    run(main)
    assert [len(batch) for batch in forward.batches] == [16, 1]


def test_a_full_queue_refuses_but_not_the_first() -> None:
    forward = Recorded()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward)
        first = batcher.submit(lane, rows_of(*range(150)), TWICE)
        with pytest.raises(Overloaded, match="150 rows"):
            batcher.submit(lane, rows_of(1), TWICE)
        await first.future
        await batcher.submit(lane, rows_of(1), TWICE).future

    run(main, rows_queued=100)


def test_a_pass_that_fails_is_told_to_those_in_it_and_the_next_runs() -> None:
    forward = Recorded()
    forward.fails = True

    async def main(batcher: Batcher) -> None:
        for seconds in (INSTANTLY, LONG):
            lane = lane_of(forward, seconds_per_row=seconds)
            forward.fails = True
            asked = [batcher.submit(lane, rows_of(number), TWICE) for number in range(3)]
            for one in asked:
                with pytest.raises(MemoryError):
                    await one.future
            forward.fails = False
            await batcher.submit(lane, rows_of(1), TWICE).future
            assert isinstance(lane.seen, Statistics)
            assert (lane.seen.fail.count, lane.seen.success.count) == (3, 1)

    run(main)


def test_a_cut_request_that_fails_in_the_middle_is_told_once() -> None:
    forward = Recorded()
    forward.go.clear()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward, seconds_per_row=LONG)
        large = batcher.submit(lane, rows_of(*range(64)), TWICE)
        await until(forward.entered.is_set)
        forward.fails = True
        forward.go.set()
        with pytest.raises(MemoryError):
            await large.future
        forward.fails = False
        await batcher.submit(lane, rows_of(1), TWICE).future

    run(main)
    assert len(forward.batches) < 5


def test_a_model_whose_rows_take_long_gets_small_batches() -> None:
    forward = Recorded()

    async def main(batcher: Batcher) -> None:
        lane = lane_of(forward, seconds_per_row=0.001)
        await batcher.submit(lane, rows_of(*range(200)), TWICE).future

    run(main, batch_rows=150)
    assert {len(batch) for batch in forward.batches[:-1]} == {20}
