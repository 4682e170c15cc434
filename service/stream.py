"""Server-Sent Events: replay, follow, keep alive, resume by `Last-Event-ID`.

One tailer per process asks the database every quarter second for new rows of the jobs that somebody watches,
and deals them out to bounded queues. An event's id is its number in the job's log, which is taken under the
job's own row lock, so that a reader of (job, number) never skips a late commit. A client that reads too
slowly is let go; it comes back with `Last-Event-ID` and has lost nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from service import metrics
from service.errors import TooManyStreams
from store import Store
from store.events import EventLog
from store.jobs import Jobs

POLL_SECONDS = 0.25
QUEUE_EVENTS = 1000
PAGE_EVENTS = 500
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
log = structlog.get_logger("service")


@dataclass(frozen=True)
class Told:
    """An event of a job as the wire says it."""

    number: int
    type: str
    data: dict[str, Any]
    at: str

    def frame(self) -> bytes:
        """Its lines in an event stream."""
        data = orjson.dumps({**self.data, "at": self.at})
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self.number, self.type.encode(), data)


@dataclass(eq=False)
class Watcher:
    """One client: what it is owed, and whether it fell behind."""

    queue: asyncio.Queue[Told | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_EVENTS))
    dropped: bool = False

    def give(self, event: Told | None) -> None:
        """Hand it an event, or `None` for the end; a full queue lets the client go."""
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            self.dropped = True
            metrics.streams_dropped.inc()


class Tailer:
    """Follows the event logs of the jobs that somebody watches."""

    def __init__(self, store: Store, *, streams_per_caller: int, keep_alive_seconds: float) -> None:
        self._store = store
        self._ceiling = streams_per_caller
        self._keep_alive = keep_alive_seconds
        self._watchers: dict[str, set[Watcher]] = defaultdict(set)
        self._last: dict[str, int] = {}
        self._open: dict[str | None, int] = defaultdict(int)
        self._closing = False

    async def run(self) -> None:
        """Poll until cancelled; a database that is away for a while only delays events."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self._last:
                continue
            try:
                rows = await asyncio.to_thread(self._read_new, dict(self._last))
            except Exception as error:
                log.warning("events cannot be read now", reason=str(error))
                continue
            for job, events in rows.items():
                self._deal(job, events)

    def close(self) -> None:
        """End every stream, so that a stopping server need not wait for its clients."""
        self._closing = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.give(None)
                watcher.dropped = True

    def read(self, job: str, after: int, limit: int = PAGE_EVENTS) -> list[Told]:
        """One page of a job's events after a number; blocks."""
        with self._store.session() as session:
            return [told(row) for row in EventLog(session).read(job, after=after, limit=limit)]

    async def follow(
        self, job: str, after: int, caller: str | None, over: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        """The job's events after a number as frames of an event stream, until its last.

        Args:
            job: the job's id.
            after: the number of the last event that the client has seen.
            caller: whose stream it is, for the ceiling of streams per caller.
            over: asked in a thread whether the job is over, so that a `done` before a resume ends nothing.
        """
        watcher = Watcher()
        self._open[caller] += 1
        metrics.streams.inc()
        try:
            await self._enter(job, watcher)
            async for frame in self._frames(job, after, watcher, over):
                yield frame
        finally:
            self._leave(job, watcher, caller)

    def refuse_too_many(self, caller: str | None) -> None:
        """Refuse a stream beyond the caller's ceiling.

        Raises:
            TooManyStreams: the caller holds as many as allowed.
        """
        if self._open[caller] >= self._ceiling:
            raise TooManyStreams(
                f"{self._ceiling} event streams are open already; close one or read the events as pages"
            )

    async def _frames(
        self, job: str, after: int, watcher: Watcher, over: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        sent = after
        while page := await asyncio.to_thread(self.read, job, sent):
            for event in page:
                yield event.frame()
                sent = event.number
            if len(page) < PAGE_EVENTS and page[-1].type == "done" and await asyncio.to_thread(over):
                return
        while not (watcher.dropped and watcher.queue.empty()) and not self._closing:
            try:
                event_or_end = await asyncio.wait_for(watcher.queue.get(), self._keep_alive)
            except TimeoutError:
                yield b": keep-alive\n\n"
                continue
            if event_or_end is None:
                return
            if event_or_end.number <= sent:
                continue
            yield event_or_end.frame()
            sent = event_or_end.number
            if event_or_end.type == "done" and watcher.queue.empty() and await asyncio.to_thread(over):
                return

    async def _enter(self, job: str, watcher: Watcher) -> None:
        # Registered before the replay: what commits from here on is queued, what came before is replayed.
        self._watchers[job].add(watcher)
        if job not in self._last:
            known = await asyncio.to_thread(self._newest, job)
            self._last.setdefault(job, known)

    def _leave(self, job: str, watcher: Watcher, caller: str | None) -> None:
        metrics.streams.dec()
        self._open[caller] -= 1
        if not self._open[caller]:
            del self._open[caller]
        self._watchers[job].discard(watcher)
        if not self._watchers[job]:
            del self._watchers[job]
            self._last.pop(job, None)

    def _newest(self, job: str) -> int:
        with self._store.session() as session:
            return Jobs(session).get(job).events

    def _read_new(self, after: dict[str, int]) -> dict[str, list[Told]]:
        found: dict[str, list[Told]] = defaultdict(list)
        with self._store.session() as session:
            for row in EventLog(session).read_many(after):
                found[row.job_id].append(told(row))
        return found

    def _deal(self, job: str, events: Sequence[Told]) -> None:
        if job not in self._last:
            return
        for event in events:
            if event.number <= self._last[job]:
                continue
            self._last[job] = event.number
            for watcher in self._watchers[job]:
                if not watcher.dropped:
                    watcher.give(event)


def told(row: Any) -> Told:
    """An event's row as the wire says it."""
    return Told(row.number, row.type, dict(row.data), row.at.isoformat().replace("+00:00", "Z"))


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a background task and wait until it is gone."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
