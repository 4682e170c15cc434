"""Leases: the worker's side of a job: claim the next, beat, record, finish, give back; reaping the lost.

A worker holds a job by a token and a lease. The token grows with each claim and every later write names it:
a worker that slept through its lease is fenced off. The lease runs by the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from store import ids
from store.database import now
from store.errors import Fenced, NotFound
from store.events import EventLog
from store.lifecycle import JobState, check_move
from store.tables import JobRow, Json

LOST_WORKERS_LIMIT = 3
_NEVER_BACKWARDS = ("step", "epoch", "rows")


class Leases:
    """Jobs, as a worker and the caretaker see them."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def claim_next(self, *, worker: str, devices: Sequence[str], lease_seconds: float) -> JobRow | None:
        """Take the best queued job for these devices, or None where there is none.

        The highest priority first; then whoever has the fewest jobs running; then the oldest.
        """
        moment = now(self.session)
        waiting = aliased(JobRow)
        running = (
            select(JobRow.owner, func.count().label("jobs"))
            .where(JobRow.state == JobState.RUNNING)
            .group_by(JobRow.owner)
            .subquery()
        )
        best = (
            select(waiting.id)
            .outerjoin(running, waiting.owner.is_not_distinct_from(running.c.owner))
            .where(waiting.state == JobState.QUEUED, waiting.device.in_(devices))
            .order_by(
                waiting.priority.desc(), func.coalesce(running.c.jobs, 0), waiting.created_at, waiting.id
            )
            .limit(1)
            .with_for_update(skip_locked=True, of=waiting)
            .scalar_subquery()
        )
        claimed = self.session.execute(
            update(JobRow)
            .where(JobRow.id == best, JobRow.state == JobState.QUEUED)
            .values(
                state=JobState.RUNNING,
                token=JobRow.token + 1,
                attempts=JobRow.attempts + 1,
                worker=worker,
                lease_until=moment + timedelta(seconds=lease_seconds),
                started_at=func.coalesce(JobRow.started_at, moment),
                updated_at=moment,
                revision=JobRow.revision + 1,
            )
            .returning(JobRow.id)
            .execution_options(synchronize_session=False)
        ).scalar_one_or_none()
        if claimed is None:
            return None
        job = self._locked(JobRow.id == claimed)
        assert job is not None
        facts = {"state": JobState.RUNNING.value, "attempt": job.attempts, "worker": worker}
        EventLog(self.session).append(job, [("state", facts)])
        return job

    def beat(self, job_id: str, token: int, lease_seconds: float) -> str | None:
        """Renew the lease and answer what was asked meanwhile: `cancel`, `stop` or None."""
        renewed = self.session.execute(
            update(JobRow)
            .where(*_held(job_id, token))
            .values(lease_until=now(self.session) + timedelta(seconds=lease_seconds))
            .returning(JobRow.asked)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if renewed is None:
            raise Fenced(job_id, token)
        return renewed[0]

    def record(
        self,
        job_id: str,
        token: int,
        *,
        progress: Mapping[str, object] | None = None,
        metrics: Mapping[str, object] | None = None,
        baselines: Mapping[str, object] | None = None,
        events: Sequence[tuple[str, Mapping[str, object]]] = (),
    ) -> int:
        """Note how far a job is and what happened; answers the last event's number.

        Progress and metrics are laid over what is there. After a resume from a checkpoint a job passes steps
        that were reported before: what is shown stays where it was until they are passed again.
        """
        job = self._held(job_id, token)
        if progress is not None:
            job.progress = _advanced(job.progress, progress)
        if metrics is not None:
            job.metrics = {**job.metrics, **metrics}
        if baselines is not None:
            job.baselines = dict(baselines)
        if self.session.is_modified(job):
            _touch(job, now(self.session))
        return EventLog(self.session).append(job, events) if events else job.events

    def finish(
        self,
        job_id: str,
        token: int,
        state: JobState | str,
        *,
        ended: str | None = None,
        problem: Mapping[str, object] | None = None,
        metrics: Mapping[str, object] | None = None,
        model_version: int | None = None,
    ) -> JobRow:
        """End a job as succeeded, failed or cancelled, with its last two events: `state` and `done`."""
        job = self._held(job_id, token)
        if metrics is not None:
            job.metrics = {**job.metrics, **metrics}
        job.ended = ended
        if model_version is not None:
            job.model_version = model_version
        self._end(job, JobState(state), problem=problem)
        return job

    def give_back(self, job_id: str, token: int) -> JobRow:
        """Return a job to the queue because this worker goes away in order: that counts as no attempt."""
        job = self._held(job_id, token)
        if job.asked == "cancel":
            self._end(job, JobState.CANCELLED)
        else:
            job.attempts -= 1
            self._requeue(job, "its worker was stopped in order")
        return job

    def any_expired(self) -> bool:
        """Whether `reap` would find something: a look that takes no lock."""
        expired = select(exists().where(*_expired(now(self.session))))
        return bool(self.session.execute(expired).scalar_one())

    def reap(self) -> list[JobRow]:
        """Take jobs from workers that stopped beating: back to the queue, or failed after the third."""
        jobs = self.session.scalars(
            select(JobRow)
            .where(*_expired(now(self.session)))
            .order_by(JobRow.lease_until)
            .limit(100)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        ).all()
        for job in jobs:
            job.lost += 1
            if job.asked == "cancel":
                self._end(job, JobState.CANCELLED)
            elif job.lost >= LOST_WORKERS_LIMIT:
                self._end(job, JobState.FAILED, problem=_worker_lost(job))
            else:
                self._requeue(job, f"worker {job.worker} was lost")
        return list(jobs)

    def any_overdue(self, hint_seconds: float) -> bool:
        """Whether `overdue` would find something: a look that takes no lock."""
        overdue = select(exists().where(*_overdue(now(self.session), hint_seconds)))
        return bool(self.session.execute(overdue).scalar_one())

    def overdue(self, hint_seconds: float) -> list[str]:
        """The devices of queued jobs whose hint is so old or was never sent, one a job; marks them hinted."""
        moment = now(self.session)
        return list(
            self.session.scalars(
                update(JobRow)
                .where(*_overdue(moment, hint_seconds))
                .values(hinted_at=moment)
                .returning(JobRow.device)
                .execution_options(synchronize_session=False)
            )
        )

    def _held(self, job_id: str, token: int) -> JobRow:
        job = self._locked(*_held(job_id, token))
        if job is None:
            raise Fenced(job_id, token)
        return job

    def _found(self, job_id: str) -> JobRow:
        job = self._locked(JobRow.id == job_id) if ids.is_id(job_id, "job") else None
        if job is None:
            raise NotFound("job", job_id)
        return job

    def _locked(self, *conditions: ColumnElement[bool]) -> JobRow | None:
        """The row as it is now, held until the transaction ends (on SQLite the whole database is)."""
        return self.session.scalars(
            select(JobRow)
            .where(*conditions)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        ).one_or_none()

    def _requeue(self, job: JobRow, reason: str | None = None) -> None:
        job.lease_until = job.worker = job.hinted_at = None
        self._move(job, JobState.QUEUED, {} if reason is None else {"reason": reason})

    def _end(self, job: JobRow, state: JobState, *, problem: Mapping[str, object] | None = None) -> None:
        job.problem = None if problem is None else dict(problem)
        job.lease_until = job.asked = None
        job.finished_at = now(self.session)
        self._move(job, state)
        model = None if job.model_version is None else {"name": job.model, "version": job.model_version}
        facts = {"state": state.value, "ended": job.ended, "problem": job.problem, "model": model}
        EventLog(self.session).append(job, [("done", facts)])

    def _move(self, job: JobRow, state: JobState, facts: Mapping[str, object] | None = None) -> None:
        check_move(job.state, state)
        job.state = state
        _touch(job, now(self.session))
        EventLog(self.session).append(job, [("state", {"state": state.value, **(facts or {})})])


def _held(job_id: str, token: int) -> tuple[ColumnElement[bool], ...]:
    return JobRow.id == job_id, JobRow.token == token, JobRow.state == JobState.RUNNING


def _expired(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    return JobRow.state == JobState.RUNNING, JobRow.lease_until < moment


def _overdue(moment: datetime, hint_seconds: float) -> tuple[ColumnElement[bool], ...]:
    stale = JobRow.hinted_at < moment - timedelta(seconds=hint_seconds)
    return JobRow.state == JobState.QUEUED, or_(JobRow.hinted_at.is_(None), stale)


def _touch(job: JobRow, moment: datetime) -> None:
    job.revision += 1
    job.updated_at = moment


def _advanced(before: Json, after: Mapping[str, object]) -> Json:
    merged: Json = {**before, **after}
    for name in _NEVER_BACKWARDS:
        old, new = before.get(name), merged.get(name)
        if isinstance(old, int | float) and (not isinstance(new, int | float) or new < old):
            merged[name] = old
    return merged


def _worker_lost(job: JobRow) -> Json:
    return {
        "type": "worker-lost",
        "title": "Worker lost",
        "detail": f"{job.lost} workers were lost at this job, the last one was {job.worker}; "
        "it may need more memory than they have",
    }
