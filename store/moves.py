"""Moves: how jobs' rows go from one state to the next, with the events that say so.

Whoever calls holds the rows' locks already, and before them that of the study which they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from store.database import now
from store.events import EventLog
from store.lifecycle import JobState, check_move
from store.tables import JobRow, Json


def locked(session: Session, *conditions: ColumnElement[bool]) -> JobRow | None:
    """The one row as it is now, held until the transaction ends (on SQLite the whole database is)."""
    return session.scalars(
        select(JobRow)
        .where(*conditions)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()


def requeue(session: Session, jobs: Sequence[JobRow], reason: str | None = None) -> None:
    """Put jobs back on the queue, where a worker or the caretaker finds them."""
    moment = now(session)
    told = []
    for job in jobs:
        job.lease_until = job.worker = job.hinted_at = None
        told.append((job, [_move(job, JobState.QUEUED, moment, reason)]))
    EventLog(session).append_all(told)


def end(
    session: Session,
    jobs: Sequence[JobRow],
    state: JobState,
    *,
    problem: Mapping[str, object] | None = None,
    reason: str | None = None,
) -> None:
    """End jobs, each with its last two events: `state` and `done`."""
    moment = now(session)
    told = []
    for job in jobs:
        job.problem = None if problem is None else dict(problem)
        job.lease_until = job.asked = None
        job.finished_at = moment
        told.append((job, [_move(job, state, moment, reason), ("done", _facts(job))]))
    EventLog(session).append_all(told)


def touch(job: JobRow, moment: datetime) -> None:
    """Note that something changed that a client can see."""
    job.revision += 1
    job.updated_at = moment


def _move(job: JobRow, state: JobState, moment: datetime, reason: str | None) -> tuple[str, Json]:
    check_move(job.state, state)
    job.state = state
    touch(job, moment)
    return "state", {"state": state.value} | ({} if reason is None else {"reason": reason})


def _facts(job: JobRow) -> Json:
    model = None if job.model_version is None else {"name": job.model, "version": job.model_version}
    return {"state": job.state.value, "ended": job.ended, "problem": job.problem, "model": model}
