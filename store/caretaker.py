"""Caretaker: a thread in every gateway and worker that puts right what a crash left behind.

Expired leases go back to the queue, lost hints are sent again, old files and rows are removed. Each round is
idempotent and any number of caretakers may share one database; a round that fails (the database is away) is
logged and tried again.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store import files, ids, logs
from store.database import now
from store.errors import NotFound
from store.idempotency import Idempotency
from store.jobs import Jobs
from store.lifecycle import JobState
from store.queue import DEVICES
from store.removals import Removals
from store.store import Store
from store.studies import Studies
from store.tables import DatasetRow, JobRow, ModelRow
from store.workers import Workers

log = logs.get(__name__)

# What may be an hour late need not be looked for every two seconds.
_SWEEP_SECONDS = 300.0
_OVER = [state for state in JobState if state.is_over]


class Caretaker:
    """Looks around every few seconds until it is stopped."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing: set[str] = set()

    def start(self) -> None:
        """Begin, in a thread of its own."""
        if self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="caretaker", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after what it is doing now."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None

    def look(self) -> None:
        """The urgent round: lost workers, studies that wait for nobody, lost hints, files without a row."""
        for duty in (self.reap, self.advance_studies, self.hint, self.remove_files):
            self._try(duty)

    def sweep(self) -> None:
        """The leisurely round: what is too old to be kept."""
        for duty in (self.remove_checkpoints, self.forget_rows, self.remove_leftovers, self.remove_orphans):
            self._try(duty)

    def reap(self) -> None:
        """Take jobs from workers that stopped beating."""
        with self.store.session() as session:
            if not Jobs(session).any_expired():
                return  # no write lock taken for nothing
        with self.store.transaction() as session:
            jobs = Jobs(session).reap()
        for job in jobs:
            log.warning("worker lost", job_id=job.id, lost=job.lost, state=job.state.value)

    def advance_studies(self) -> None:
        """Move on the studies whose rows say less than those of their jobs."""
        with self.store.session() as session:
            stalled = Studies(session).stalled()
        for study in stalled:
            with contextlib.suppress(NotFound), self.store.transaction() as session:
                Studies(session).advance(study)

    def hint(self) -> None:
        """Send a hint for queued jobs that have waited too long for one."""
        seconds = self.store.settings.hint_seconds
        with self.store.session() as session:
            if not Jobs(session).any_overdue(seconds):
                return
        # Hints that nobody took mean that nobody is free: more of them would only pile up.
        untaken = {device: self.store.queue.waiting(device) for device in DEVICES}
        with self.store.transaction() as session:
            overdue = Counter(Jobs(session).overdue(seconds))
        for device, jobs in overdue.items():
            for _ in range(jobs - untaken.get(device, 0)):
                self.store.queue.hint(device)

    def remove_files(self) -> None:
        """Remove the files of rows that were removed."""
        with self.store.session() as session:
            artifacts = Removals(session).waiting()
        for artifact in artifacts:
            try:
                self.store.artifacts.remove(artifact)
            except Exception as problem:
                log.warning("files not removed", artifact=artifact, problem=str(problem))
                with self.store.transaction() as session:
                    Removals(session).failed(artifact, str(problem))
            else:
                with self.store.transaction() as session:
                    Removals(session).done(artifact)

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of jobs that have been over for long enough."""
        with self.store.session() as session:
            before = now(session) - timedelta(days=self.store.settings.checkpoints_kept_days)
            due = (JobRow.state.in_(_OVER), JobRow.finished_at < before, JobRow.swept_at.is_(None))
            jobs = session.scalars(select(JobRow.id).where(*due).limit(200)).all()
        for job in jobs:
            # Files first: a crash in between only means that they are removed once more.
            self.store.artifacts.remove(f"jobs/{job}/checkpoints")
            with self.store.transaction() as session:
                session.execute(update(JobRow).where(JobRow.id == job, *due).values(swept_at=now(session)))

    def forget_rows(self) -> None:
        """Forget old answers to idempotency keys, and workers that are long gone."""
        settings = self.store.settings
        with self.store.transaction() as session:
            Idempotency(session).forget(settings.idempotency_hours)
            Workers(session).forget(max(600.0, 20 * settings.lease_seconds))

    def remove_leftovers(self) -> None:
        """Remove uploads and half-written files that nobody goes on with."""
        settings = self.store.settings
        before = time.time() - settings.uploads_kept_hours * 3600
        for entry in settings.uploads.iterdir() if settings.uploads.is_dir() else ():
            if files.newest_change(entry) < before:
                files.delete(entry)
        self.store.artifacts.tidy(unfinished_before=before, cache_bytes=settings.cache_bytes)

    def remove_orphans(self) -> None:
        """Remove files that were put into the store by somebody who then died before writing their row."""
        before = time.time() - self.store.settings.uploads_kept_hours * 3600
        artifacts = self.store.artifacts
        found = [
            (folder, name)
            for folder in ("datasets", "jobs", "models")
            for name in artifacts.list(folder)
            if ids.is_id(name) and ids.made_at(name) < before
        ]
        for folder, name in found:
            with self.store.session() as session:
                if _needed(session, folder, name):
                    continue
            log.warning("files without a row removed", artifact=f"{folder}/{name}")
            artifacts.remove(f"{folder}/{name}")

    def _run(self) -> None:
        swept = float("-inf")
        while not self._stopped.is_set():
            self.look()
            if time.monotonic() - swept >= _SWEEP_SECONDS:
                self.sweep()
                swept = time.monotonic()
            # Many caretakers started together should not go on looking together.
            self._stopped.wait(self.store.settings.caretaker_seconds * random.uniform(0.8, 1.2))

    def _try(self, duty: Callable[[], None]) -> None:
        if self._stopped.is_set():
            return
        name = duty.__name__
        try:
            duty()
        except Exception as problem:
            # Nothing may end this thread: database and broker will be back. Said once, not every round.
            if name not in self._failing:
                self._failing.add(name)
                log.warning("caretaker failed", duty=name, problem=str(problem))
        else:
            if name in self._failing:
                self._failing.discard(name)
                log.info("caretaker goes on", duty=name)


def _needed(session: Session, folder: str, name: str) -> bool:
    """Whether a row stands for these files, or may yet: a job that is there can still be resumed."""
    if folder == "datasets":
        return session.get(DatasetRow, name) is not None
    if folder == "models":
        artifact = select(ModelRow.id).where(ModelRow.artifact == f"{folder}/{name}")
        if session.execute(artifact).first() is not None:
            return True
    return session.get(JobRow, name) is not None
