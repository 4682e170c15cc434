"""EventLog: the numbered events of a job, written under its row's lock and read after a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from store import ids
from store.database import now
from store.lifecycle import JobState
from store.tables import EventRow, JobRow

# Conditions are joined by OR, and SQLite bounds how deep an expression may be.
_JOBS_AT_ONCE = 200


@dataclass(frozen=True)
class Head:
    """How far a job's log goes, and whether more can come."""

    number: int
    state: JobState


class EventLog:
    """The events of jobs, each numbered 1, 2, 3 … within its job."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def begin(self, jobs: Sequence[JobRow], event: tuple[str, Mapping[str, object]]) -> None:
        """Add new rows, each with this as its first event."""
        for job in jobs:
            job.events = 1
        self.session.add_all(jobs)
        self.session.flush()
        moment, (kind, data) = now(self.session), event
        firsts = [
            {"job_id": job.id, "number": 1, "type": kind, "data": dict(data), "at": moment} for job in jobs
        ]
        self.session.execute(insert(EventRow), firsts)

    def append(self, job: JobRow, events: Sequence[tuple[str, Mapping[str, object]]]) -> int:
        """Write events after the last one, and answer the last one's number.

        The numbers come from the job's own row under that row's lock, which is held until the transaction
        ends: so they are committed in their order, and a reader of what lies after a number never skips one.
        """
        last = self.session.execute(
            update(JobRow)
            .where(JobRow.id == job.id)
            .values(events=JobRow.events + len(events))
            .returning(JobRow.events)
            .execution_options(synchronize_session=False)
        ).scalar_one()
        set_committed_value(job, "events", last)
        if events:
            moment = now(self.session)
            first = last - len(events) + 1
            self.session.execute(
                insert(EventRow),
                [
                    {
                        "job_id": job.id,
                        "number": first + index,
                        "type": kind,
                        "data": dict(data),
                        "at": moment,
                    }
                    for index, (kind, data) in enumerate(events)
                ],
            )
        return last

    def append_all(self, events: Sequence[tuple[JobRow, Sequence[tuple[str, Mapping[str, object]]]]]) -> None:
        """Write events of many jobs at once, whose rows are held and were read under their locks."""
        moment = now(self.session)
        lines = []
        for job, told in events:
            for kind, data in told:
                job.events += 1
                lines.append(
                    {
                        "job_id": job.id,
                        "number": job.events,
                        "type": kind,
                        "data": dict(data),
                        "at": moment,
                    }
                )
        self.session.flush()
        if lines:
            self.session.execute(insert(EventRow), lines)

    def read(self, job_id: str, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """The events of one job after a number, in order."""
        if not ids.is_id(job_id, "job"):
            return []
        return list(
            self.session.scalars(
                select(EventRow)
                .where(EventRow.job_id == job_id, EventRow.number > after)
                .order_by(EventRow.number)
                .limit(limit)
            )
        )

    def read_many(self, after: Mapping[str, int], limit: int = 5000) -> list[EventRow]:
        """The new events of many jobs, each after its own number; one without any costs a look at its row.

        Where more than `limit` are new, the rest comes with the next call, from where this one's answer ends.
        """
        heads = self.heads(list(after))
        behind = [
            (job, number) for job, number in after.items() if job in heads and heads[job].number > number
        ]
        found: list[EventRow] = []
        for start in range(0, len(behind), _JOBS_AT_ONCE):
            if len(found) >= limit:
                break
            conditions = [
                and_(EventRow.job_id == job, EventRow.number > number)
                for job, number in behind[start : start + _JOBS_AT_ONCE]
            ]
            found += self.session.scalars(
                select(EventRow)
                .where(or_(*conditions))
                .order_by(EventRow.job_id, EventRow.number)
                .limit(limit - len(found))
            )
        return found

    def heads(self, jobs: Sequence[str]) -> dict[str, Head]:
        """For each job that exists, its last event's number and its state."""
        heads: dict[str, Head] = {}
        jobs = [job for job in jobs if ids.is_id(job, "job")]
        for start in range(0, len(jobs), _JOBS_AT_ONCE):
            for job, number, state in self.session.execute(
                select(JobRow.id, JobRow.events, JobRow.state).where(
                    JobRow.id.in_(jobs[start : start + _JOBS_AT_ONCE])
                )
            ):
                heads[job] = Head(number, state)
        return heads
