"""Leases: the worker's side of a job: claim the next, beat, record, finish, give back; reaping the lost.

A worker holds a job by a token and a lease. The token grows with each claim and every later write names it:
a worker that slept through its lease is fenced off. The lease runs by the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, false, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from store import ids, moves
from store.database import now
from store.errors import Fenced, NotFound
from store.events import EventLog
from store.lifecycle import JobState
from store.rounds import Rounds
from store.tables import JobRow, Json, StudyRow

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
            .where(waiting.state == JobState.QUEUED, waiting.held == false(), waiting.device.in_(devices))
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
        job = moves.locked(self.session, JobRow.id == claimed)
        assert job is not None
        if job.study_id is not None:
            Rounds(self.session).begin(job.study_id)
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
            moves.touch(job, now(self.session))
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
        manifest: Mapping[str, object] | None = None,
    ) -> JobRow:
        """End a job as succeeded, failed or cancelled, with its last two events: `state` and `done`.

        `manifest` is that of a model whose files are there and which its study's end may register.
        """
        study = self.hold_study(job_id)
        job = self._held(job_id, token)
        if metrics is not None:
            job.metrics = {**job.metrics, **metrics}
        job.ended = ended
        if model_version is not None:
            job.model_version = model_version
        if manifest is not None:
            job.manifest = dict(manifest)
        moves.end(self.session, [job], JobState(state), problem=problem)
        self._settle(study)
        return job

    def pause(self, job_id: str, token: int, *, metrics: Mapping[str, object] | None = None) -> JobRow:
        """Have a job of a study wait for the others at its rung, with a checkpoint to go on from.

        The last one to come has the rung decided.
        """
        study = self.hold_study(job_id)
        job = self._held(job_id, token)
        if study is None or job.study_place is None:
            raise ValueError(f"{job_id} belongs to no study and has nothing to wait for")
        if metrics is not None:
            job.metrics = {**job.metrics, **metrics}
        if job.asked == "cancel":
            moves.end(self.session, [job], JobState.CANCELLED)
        else:
            job.held = True
            moves.requeue(self.session, [job], f"waits for the others at rung {job.study_place['rung']}")
        self._settle(study)
        return job

    def give_back(self, job_id: str, token: int) -> JobRow:
        """Return a job to the queue because this worker goes away in order: that counts as no attempt."""
        study = self.hold_study(job_id)
        job = self._held(job_id, token)
        if job.asked == "cancel":
            moves.end(self.session, [job], JobState.CANCELLED)
        else:
            job.attempts -= 1
            moves.requeue(self.session, [job], "its worker was stopped in order")
        self._settle(study)
        return job

    def hold_study(self, job_id: str) -> StudyRow | None:
        """Hold the study that a job belongs to, if any: before the job's own row, where it is to end."""
        return Rounds(self.session).hold_of(job_id)

    def any_expired(self) -> bool:
        """Whether `reap` would find something: a look that takes no lock."""
        expired = select(exists().where(*_expired(now(self.session))))
        return bool(self.session.execute(expired).scalar_one())

    def reap(self) -> list[JobRow]:
        """Take jobs from workers that stopped beating: back to the queue, or failed after the third."""
        expired = _expired(now(self.session))
        studies = Rounds(self.session).hold_all(*expired)
        jobs = self.session.scalars(
            select(JobRow)
            .where(*expired, or_(JobRow.study_id.is_(None), JobRow.study_id.in_(studies)))
            .order_by(JobRow.lease_until)
            .limit(100)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        ).all()
        for job in jobs:
            job.lost += 1
            if job.asked == "cancel":
                moves.end(self.session, [job], JobState.CANCELLED)
            elif job.lost >= LOST_WORKERS_LIMIT:
                moves.end(self.session, [job], JobState.FAILED, problem=_worker_lost(job))
            else:
                moves.requeue(self.session, [job], f"worker {job.worker} was lost")
        for study in studies.values():
            self._settle(study)
        return list(jobs)

    def any_overdue(self, hint_seconds: float) -> bool:
        """Whether `overdue` would find something: a look that takes no lock."""
        overdue = select(exists().where(*_overdue(now(self.session), hint_seconds)))
        return bool(self.session.execute(overdue).scalar_one())

    def overdue(self, hint_seconds: float) -> list[str]:
        """The devices of queued jobs whose hint is so old or was never sent, one a job; marks them hinted."""
        moment = now(self.session)
        # Rows that somebody holds are left out: held one by one here, they could be waited for in a circle.
        free = select(JobRow.id).where(*_overdue(moment, hint_seconds)).with_for_update(skip_locked=True)
        return list(
            self.session.scalars(
                update(JobRow)
                .where(JobRow.id.in_(free))
                .values(hinted_at=moment)
                .returning(JobRow.device)
                .execution_options(synchronize_session=False)
            )
        )

    def _held(self, job_id: str, token: int) -> JobRow:
        job = moves.locked(self.session, *_held(job_id, token))
        if job is None:
            raise Fenced(job_id, token)
        return job

    def _found(self, job_id: str) -> JobRow:
        job = moves.locked(self.session, JobRow.id == job_id) if ids.is_id(job_id, "job") else None
        if job is None:
            raise NotFound("job", job_id)
        return job

    def _settle(self, study: StudyRow | None) -> None:
        if study is not None:
            Rounds(self.session).settle(study)


def _held(job_id: str, token: int) -> tuple[ColumnElement[bool], ...]:
    return JobRow.id == job_id, JobRow.token == token, JobRow.state == JobState.RUNNING


def _expired(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    return JobRow.state == JobState.RUNNING, JobRow.lease_until < moment


def _overdue(moment: datetime, hint_seconds: float) -> tuple[ColumnElement[bool], ...]:
    stale = JobRow.hinted_at < moment - timedelta(seconds=hint_seconds)
    return JobRow.state == JobState.QUEUED, JobRow.held == false(), or_(JobRow.hinted_at.is_(None), stale)


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
