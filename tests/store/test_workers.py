from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import update

from store import Store, WorkerFacts, Workers
from store.database import now
from store.tables import WorkerRow

FACTS = WorkerFacts(id="host-1", host="host", pid=42, device="cpu", version="0.1.0")


def test_a_worker_lives_while_it_beats(store: Store) -> None:
    with store.transaction() as session:
        Workers(session).beat(FACTS, "idle")
        Workers(session).beat(replace(FACTS, id="host-2"), "idle")
    with store.transaction() as session:
        Workers(session).beat(replace(FACTS, pid=43), "busy", "job_1")
        past = now(session) - timedelta(seconds=60)
        session.execute(update(WorkerRow).where(WorkerRow.id == "host-2").values(seen_at=past))
    with store.session() as session:
        (row,) = Workers(session).living(30)
    assert (row.id, row.pid, row.state, row.job_id) == ("host-1", 43, "busy", "job_1")
    assert row.seen_at >= row.started_at


def test_a_worker_that_leaves_or_was_long_silent_is_forgotten(store: Store) -> None:
    with store.transaction() as session:
        Workers(session).beat(FACTS, "idle")
        Workers(session).beat(replace(FACTS, id="host-2"), "idle")
    with store.transaction() as session:
        workers = Workers(session)
        workers.remove("host-1")
        workers.remove("nobody")
        assert workers.forget(3600) == 0
        assert workers.forget(-1) == 1
        assert workers.living(3600) == []
