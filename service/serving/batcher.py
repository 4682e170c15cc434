"""Coalesce concurrent rows: they run as soon as the device is free, together with all that came meanwhile.

No timer. What arrives is gathered for as long as each turn of the event loop brings more. A batch that will
be short runs on the loop itself, where the way to a thread and back would cost more than it; a longer one
goes to the one engine thread of the device, and the next batch grows while it is there. Where that is long
again the thread takes it itself: the loop may be reading a body, and the device would wait for it.

Lanes (a model and what is asked of it) take turns; a request that was cut is put together again.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence, Sized
from typing import NamedTuple

import numpy as np

from service import metrics
from service.serving.codecs import Rows
from service.serving.errors import Overloaded
from service.serving.lane import Arrays, Asked, Awaited, Lane, Part, Wants

INLINE_SECONDS = 0.002
"""A batch that is expected to take no longer runs on the event loop."""
ALONE_SECONDS = 0.005
"""The same for a request beside whose connection there is no other."""
WORTH_SECONDS = 0.006
"""A batch that takes as long is worth a pass of its own, though more rows are coming."""
BATCH_SECONDS = 0.02
"""What a batch may take where more rows wait than fit: the most that one row waits for another's."""
_LEAST = 16
_ENOUGH_ROWS = 32


class Job(NamedTuple):
    """One batch: rows of one lane, and the arrays that any of them wants."""

    lane: Lane
    parts: list[Part]
    wants: Wants


class Outcome(NamedTuple):
    """What a pass made, or why it made nothing, and when it began and ended."""

    made: Arrays | Exception
    began: float
    ended: float


class Batcher:
    """The queue of one device; the event loop alone fills it.

    Args:
        rows_queued: how many rows may wait; more are refused.
        batch_rows: rows of a batch at most.
        prepare: called first in the engine thread and in the loop's.

    Attributes:
        answering: the requests that the server is answering, where it tells: one alone has none to wait for.
        busy: whether the engine thread has a batch.
        waiting_rows: how many rows are in no batch yet.
    """

    def __init__(self, *, rows_queued: int, batch_rows: int, prepare: Callable[[], None]) -> None:
        self._rows_queued, self._batch_rows, self._prepare = rows_queued, batch_rows, prepare
        self._lanes: deque[Lane] = deque()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        # Of what waits and of `busy`: the engine thread takes its next batch itself.
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._scheduled = False
        self._gathered = 0
        self.answering: Sized | None = None
        self.busy = False
        self.waiting_rows = 0

    @property
    def pressed(self) -> bool:
        """Whether rows that come now may have to wait for others."""
        return self.busy or self.waiting_rows >= self._batch_rows

    def is_enough(self, lane: Lane, rows: int) -> bool:
        """Whether so many rows are worth a batch while more of their request are coming."""
        # A free device begins with less, though not in the event loop, which is to read on.
        least = WORTH_SECONDS if self.pressed else 1.5 * INLINE_SECONDS
        return lane.pace.seconds(rows) > least

    def submit(self, lane: Lane, rows: Rows, wants: Wants) -> Awaited:
        """Queue rows; their arrays come by the answer's future.

        Raises:
            Overloaded: too many rows are waiting already.
        """
        loop = self._loop or self._begin()
        asked = Awaited(rows, len(rows), wants, loop.create_future(), time.perf_counter())
        alone = self.answering is not None and len(self.answering) == 1
        self._add(lane, asked, INLINE_SECONDS if alone else None)
        return asked

    def put(self, lane: Lane, asked: Asked, *, alone: bool) -> None:
        """Queue a whole request's rows whose waiter is there already; while they are `alone` none can follow.

        Raises:
            Overloaded: too many rows are waiting already.
        """
        self._add(lane, asked, ALONE_SECONDS if alone else None)

    def close(self) -> None:
        """End the engine thread after the batch that it has; whoever still waits is told that we are gone."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()

    def _add(self, lane: Lane, asked: Asked, at_once: float | None) -> None:
        """Queue rows; `at_once` they are run, here if that takes no more seconds; else more are gathered."""
        loop = self._loop or self._begin()
        with self._lock:
            if self.waiting_rows and self.waiting_rows + asked.count > self._rows_queued:
                raise Overloaded(f"{self.waiting_rows} rows are waiting for the device; try again")
            if not lane.waiting:
                self._lanes.append(lane)
            lane.add(asked)
            self.waiting_rows += asked.count
            is_free = not self.busy
        if is_free and not self._scheduled:
            if at_once is None:
                self._scheduled, self._gathered = True, 0
                loop.call_soon(self._gather)
            else:
                self._turn(at_once)

    def _begin(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        self._prepare()
        self._thread = threading.Thread(target=self._engine, name="engine", daemon=True)
        self._thread.start()
        return self._loop

    def _gather(self) -> None:
        """Look once more where rows came since the last look: a few more cost a pass next to nothing."""
        if self._gathered < self.waiting_rows < _ENOUGH_ROWS and self._loop is not None:
            self._gathered = self.waiting_rows
            self._loop.call_soon(self._gather)
        else:
            self._turn()

    def _turn(self, inline_seconds: float = INLINE_SECONDS) -> None:
        """Run what was gathered, lane by lane: short batches here, a long one in the thread."""
        self._scheduled = False
        until = time.perf_counter() + INLINE_SECONDS
        while self._lanes and not self.busy:
            if time.perf_counter() > until:
                # Others have a right to the loop too: the rest is run in its next turn.
                self._again()
                return
            with self._lock:
                room, seconds = self._next()
                job = self._take(room)
                self.busy = job is not None and seconds > inline_seconds
            if self.busy:
                self._jobs.put(job)
            elif job is not None:
                self._deal(job, _pass(job))

    def _next(self) -> tuple[int, float]:
        """How many rows the next batch may have, and how many seconds it will take."""
        lane = self._lanes[0]
        room = self._room(lane)
        return room, lane.pace.seconds(min(lane.left, room))

    def _take(self, room: int) -> Job | None:
        """The next batch, of the lane whose turn it is; None where all that waited there have left."""
        lane = self._lanes.popleft()
        had = lane.left
        parts = lane.take(room)
        gone = had - lane.left
        self.waiting_rows -= gone
        if gone := gone - sum([stop - start for _, start, stop in parts]):
            metrics.rows_dropped.inc(gone)
        if lane.waiting:
            self._lanes.append(lane)
        return Job(lane, parts, _all_wants(parts)) if parts else None

    def _room(self, lane: Lane) -> int:
        most = min(self._batch_rows, lane.most_rows)
        per_row = lane.pace.seconds(most) / most
        return (
            most if per_row * most <= BATCH_SECONDS else min(most, max(_LEAST, int(BATCH_SECONDS / per_row)))
        )

    def _again(self) -> None:
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _engine(self) -> None:
        """Run what the loop hands over, and what has become long meanwhile: the device is not to be idle."""
        self._prepare()
        while (job := self._jobs.get()) is not None:
            while job is not None:
                done, outcome = job, _pass(job)
                job = self._following()
                try:
                    assert self._loop is not None  # it was there before this thread
                    self._loop.call_soon_threadsafe(self._ended, done, outcome)
                except RuntimeError:
                    return  # the loop is closed: nobody waits

    def _following(self) -> Job | None:
        """The batch to run right after one; None where the loop has to see to it, or the end has come."""
        with self._lock:
            job = None
            while job is None and self._lanes and self._jobs.empty():
                room, seconds = self._next()
                if seconds < WORTH_SECONDS:
                    break
                job = self._take(room)
            self.busy = job is not None
            return job

    def _ended(self, job: Job, outcome: Outcome) -> None:
        if self._lanes and not (self.busy or self._scheduled):
            # The next batch first: the device is idle until it has one.
            if self._next()[1] > INLINE_SECONDS:
                self._turn()
            else:
                self._again()
        self._deal(job, outcome)

    def _deal(self, job: Job, outcome: Outcome) -> None:
        lane, parts, _ = job
        made, began, ended = outcome
        seconds = ended - began
        if isinstance(made, Exception):
            for asked, _, _ in parts:
                if not asked.future.done():
                    lane.seen.failed(ended - asked.since)
                    asked.future.set_exception(made)
            return
        place = answered = rows = 0
        queued = computed = 0.0
        for part in parts:
            asked, start, stop = part
            here = slice(place, place + stop - start)
            place = here.stop
            asked.compute_seconds += seconds
            asked.given += stop - start
            if asked.future.done():
                continue
            if stop - start != asked.count:
                whole = _put(part, made, here)
            elif len(parts) == 1:
                whole = made
            else:
                whole = {name: made[name][here] for name in asked.wants}
            if asked.given == asked.count:
                asked.queue_seconds = max(0.0, ended - asked.since - asked.compute_seconds)
                answered, rows = answered + asked.requests, rows + asked.count
                queued, computed = queued + asked.queue_seconds, computed + asked.compute_seconds
                asked.future.set_result(whole)
        lane.pace.learn(place, seconds)
        lane.seen.ran(place, seconds)
        if rows:
            lane.seen.answered(answered, rows, queued, computed)


def _all_wants(parts: Sequence[Part]) -> Wants:
    wants = parts[0][0].wants
    for asked, _, _ in parts:
        if asked.wants is not wants:
            return frozenset[str]().union(*(asked.wants for asked, _, _ in parts))
    return wants


def _pass(job: Job) -> Outcome:
    """One forward pass over the parts' rows."""
    lane, parts, wants = job
    began = time.perf_counter()
    try:
        pieces = [
            asked.rows if stop - start == asked.count else asked.rows[start:stop]
            for asked, start, stop in parts
        ]
        rows = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        made: Arrays | Exception = lane.forward(rows, wants)
    except Exception as error:
        made = error
    return Outcome(made, began, time.perf_counter())


def _put(part: Part, made: Arrays, here: slice) -> Arrays:
    """Write a cut request's part where it belongs; the arrays are made when the first part comes."""
    asked, start, stop = part
    if asked.made is None:
        asked.made = {
            name: np.empty((asked.count, *made[name].shape[1:]), made[name].dtype) for name in asked.wants
        }
    for name, array in asked.made.items():
        array[start:stop] = made[name][here]
    return asked.made
