"""The parent's entries in a job's row: claim, beat, and what is written for a child that cannot any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from store import logs
from store.errors import Fenced, NotFound, Unavailable
from store.jobs import Jobs
from store.lifecycle import JobState
from store.store import Store
from store.tables import JobRow
from worker.devices import DeviceClass
from worker.metrics import Outcome

log = logs.get(__name__)

T = TypeVar("T")

_FINAL: dict[JobState, Outcome] = {
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}


class Ledger:
    """A worker's side of the job rows; every write carries the attempt's token."""

    def __init__(self, store: Store, *, worker: str, device: DeviceClass, lease_seconds: float) -> None:
        self._store = store
        self._worker = worker
        self._device = device
        self._lease = lease_seconds

    def claim(self) -> JobRow | None:
        """Take the next job for this worker's device; None where no job waits."""
        with self._store.transaction() as session:
            return Jobs(session).claim_next(
                worker=self._worker, devices=[self._device], lease_seconds=self._lease
            )

    def look(self, job: JobRow) -> JobRow:
        """The job's row as it is now."""
        with self._store.session() as session:
            return Jobs(session).get(job.id)

    def is_running(self, job: str, token: int) -> bool:
        """Whether this attempt is the one that runs."""
        try:
            with self._store.session() as session:
                row = Jobs(session).get(job)
        except NotFound:
            return False
        return row.token == token and row.state is JobState.RUNNING

    def beat(self, job: JobRow) -> str | None:
        """Renew the lease; what was asked of the job comes back.

        Raises:
            Fenced: the attempt has the job no longer.
        """
        with self._store.transaction() as session:
            return Jobs(session).beat(job.id, job.token, self._lease)

    def outcome(self, job: JobRow) -> Outcome:
        """What the row says of this attempt; `fenced` where it says nothing of it any more."""
        row = self._insist(lambda: self.look(job))
        if row is None or row.token != job.token:
            return "fenced"
        if row.state is JobState.QUEUED and row.held:
            return "paused"
        return _FINAL.get(row.state, "fenced")

    def cancelled(self, job: JobRow) -> Outcome:
        """Write that the job is cancelled; its process is dead by now."""
        return self._write(job, lambda jobs: jobs.finish(job.id, job.token, "cancelled"), "cancelled")

    def given_back(self, job: JobRow) -> Outcome:
        """Put the job back into the queue without counting the attempt."""
        return self._write(job, lambda jobs: jobs.give_back(job.id, job.token), "given_back")

    def lost(self, job: JobRow, reason: str) -> Outcome:
        """Count the attempt as lost and say why: the job waits again, or fails if it was lost too often."""

        def write(jobs: Jobs) -> None:
            jobs.record(job.id, job.token, events=[("warning", {"message": reason})])
            # A lease that is over is what a lost worker leaves behind: the same path counts and requeues.
            jobs.beat(job.id, job.token, -1)

        outcome = self._write(job, write, "lost")
        if outcome == "lost":
            self._insist(self._reap)
        return outcome

    def crashed(self, job: JobRow, status: int, last_words: str) -> Outcome:
        """Write that the job failed, unless its child had written the row's end before it went."""
        problem: dict[str, Any] = {
            "type": "process-ended",
            "title": "Process ended",
            "detail": f"the training process ended with status {status} and without a result",
            "trace": last_words,
        }
        return self._write(
            job, lambda jobs: jobs.finish(job.id, job.token, "failed", problem=problem), "failed"
        )

    def _reap(self) -> None:
        with self._store.transaction() as session:
            Jobs(session).reap()

    def _write(self, job: JobRow, act: Callable[[Jobs], object], outcome: Outcome) -> Outcome:
        def write() -> bool:
            try:
                with self._store.transaction() as session:
                    act(Jobs(session))
            except (Fenced, NotFound):
                return False
            return True

        written = self._insist(write)
        if written is None:
            return "lost"
        return outcome if written else self.outcome(job)

    def _insist(self, act: Callable[[], T]) -> T | None:
        """Try for a lease's time; after that the row is the caretaker's, and None comes back."""
        deadline = time.monotonic() + self._lease
        while True:
            try:
                return act()
            except Unavailable as error:
                if time.monotonic() >= deadline:
                    log.error("the database stayed away; the lease will run out", error=str(error))
                    return None
                log.warning("the database is away; trying again", error=str(error))
                time.sleep(0.5)
