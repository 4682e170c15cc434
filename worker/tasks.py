"""The one task: a hint wakes the worker, which claims the next job and watches it, until none is left."""

from __future__ import annotations

import threading

from celery import Celery

from store import logs
from store.errors import StoreError
from store.queue import WAKE
from store.tables import JobRow
from worker.ledger import Ledger
from worker.metrics import Metrics
from worker.presence import Presence
from worker.watch import Watch

log = logs.get(__name__)


class Bench:
    """The one place at which this worker's device does one job at a time."""

    def __init__(
        self, ledger: Ledger, watch: Watch, presence: Presence, metrics: Metrics, stopping: threading.Event
    ) -> None:
        self._ledger, self._watch, self._presence, self._metrics = ledger, watch, presence, metrics
        self._stopping = stopping
        self._occupied = threading.Lock()

    def heed(self) -> None:
        """Answer a hint, and count it by what it found."""
        done = self.work()
        self._metrics.hints.labels("at_work" if done is None else "jobs" if done else "nothing").inc()

    def work(self) -> int | None:
        """Do the jobs that wait, one after the other; how many they were comes back.

        None where the device is at work: whoever works there looks for the next job.
        """
        if not self._occupied.acquire(blocking=False):
            return None
        try:
            done = 0
            while not self._stopping.is_set() and (job := self._claim()) is not None:
                self._do(job)
                done += 1
        finally:
            self._occupied.release()
        return done

    def wait_until_free(self, timeout_seconds: float) -> bool:
        """Whether the device is free, at the latest after so long."""
        free = self._occupied.acquire(timeout=timeout_seconds)
        if free:
            self._occupied.release()
        return free

    def _claim(self) -> JobRow | None:
        try:
            return self._ledger.claim()
        except StoreError as error:
            # The row stays queued, and the caretaker hints again.
            log.warning("no job could be claimed", error=str(error))
            return None

    def _do(self, job: JobRow) -> None:
        self._presence.at(job.id)
        with logs.bound(job_id=job.id, request_id=job.request_id):
            try:
                self._watch.follow(job)
            except Exception as error:
                log.exception("the worker could not follow its job")
                self._ledger.lost(job, f"the worker could not run it: {type(error).__name__}: {error}")
            finally:
                self._presence.at(None)


def install(celery: Celery, bench: Bench) -> None:
    """Give the Celery app its task."""

    @celery.task(name=WAKE, ignore_result=True)
    def wake() -> None:
        bench.heed()
