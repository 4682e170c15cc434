"""The child's first second: the job's row, a scratch folder and a publisher, before torch is imported.

Importing torch takes seconds, in which somebody is already watching: the publisher speaks from the start.
"""

from __future__ import annotations

import logging
import sys

from store import logs
from store.errors import NotFound, Unavailable
from store.jobs import Jobs
from store.lifecycle import JobState
from store.store import Store
from store.tables import JobRow
from worker import exits
from worker.holding import Holding, Wishes
from worker.publish import Publisher
from worker.record import Record
from worker.scratch import attempt_scratch
from worker.settings import WorkerSettings


def begin(job: str, token: int, wishes: Wishes) -> int:
    """Drive one attempt to its end; the exit status comes back."""
    settings = WorkerSettings()
    _log_to_stdout(settings)
    store = Store.open(settings)
    try:
        with store.session() as session:
            row = Jobs(session).get(job)
        if row.token != token or row.state is not JobState.RUNNING:
            sys.stderr.write(
                f"worker.run: {job} is {row.state} at token {row.token}, not running at {token}\n"
            )
            return exits.FENCED
        with logs.bound(job_id=row.id, request_id=row.request_id):
            return _attempt(store, settings, row, wishes)
    except NotFound:
        sys.stderr.write(f"worker.run: there is no job {job}\n")
        return exits.WRONG_CALL
    except Unavailable as error:
        sys.stderr.write(f"worker.run: {error}\n")
        return exits.UNREACHABLE
    finally:
        store.close()


def _attempt(store: Store, settings: WorkerSettings, row: JobRow, wishes: Wishes) -> int:
    record = Record(store, row, patience_seconds=10 * settings.lease_seconds)
    publisher = Publisher(record.write, metrics=row.metrics)
    publisher.start()
    publisher.enter("starting")
    try:
        with attempt_scratch(settings.home, row.id, row.token) as scratch:
            from worker.attempt import Attempt

            return Attempt(
                Holding(
                    artifacts=store.artifacts,
                    settings=settings,
                    row=row,
                    record=record,
                    publisher=publisher,
                    wishes=wishes,
                    scratch=scratch,
                )
            ).run()
    finally:
        publisher.close()


def _log_to_stdout(settings: WorkerSettings) -> None:
    """Log lines belong with the worker's own; what a crash says on stderr is kept for the job's row."""
    logs.configure(settings, "child")
    for sink in logging.getLogger().handlers:
        if isinstance(sink, logging.StreamHandler):
            sink.setStream(sys.stdout)
