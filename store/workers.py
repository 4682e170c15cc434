"""Workers: who is alive, where, on which device, at which job."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store.database import insert_missing, now
from store.tables import WorkerRow


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker says about itself; `pid` is its main process, from which a job's child descends."""

    id: str
    host: str
    pid: int
    device: str
    version: str


class Workers:
    """The workers, as they last said."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def beat(self, facts: WorkerFacts, state: Literal["idle", "busy"], job: str | None = None) -> None:
        """Say that this worker lives."""
        moment = now(self.session)
        seen = {"state": state, "job_id": job, "seen_at": moment}
        insert_missing(self.session, WorkerRow, {**asdict(facts), **seen, "started_at": moment})
        # A worker started again under its old name is a new one in all but the name.
        self.session.execute(
            update(WorkerRow).where(WorkerRow.id == facts.id).values(**{**asdict(facts), **seen})
        )

    def living(self, within_seconds: float = 30) -> list[WorkerRow]:
        """The workers heard of that recently, by id."""
        since = now(self.session) - timedelta(seconds=within_seconds)
        return list(
            self.session.scalars(select(WorkerRow).where(WorkerRow.seen_at >= since).order_by(WorkerRow.id))
        )

    def remove(self, worker_id: str) -> None:
        """Forget a worker, which goes in order; nothing happens where it is unknown."""
        self.session.execute(delete(WorkerRow).where(WorkerRow.id == worker_id))

    def forget(self, older_than_seconds: float) -> int:
        """Forget workers not heard of for that long; answers how many."""
        since = now(self.session) - timedelta(seconds=older_than_seconds)
        gone = delete(WorkerRow).where(WorkerRow.seen_at < since).returning(WorkerRow.id)
        return len(self.session.scalars(gone).all())
