from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, StatementError

from store import Jobs, Store, Unavailable
from store.database import BUSY_SECONDS, now
from store.tables import DatasetRow
from tests.store import given
from tests.store.conftest import settings_for

# What SQLite needs to survive a power cut and to wait its turn, and PostgreSQL to wait for nobody for ever.
PROMISES: dict[str, dict[str, object]] = {
    "sqlite": {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": BUSY_SECONDS * 1000,
    },
    "postgresql": {
        "transaction_isolation": "read committed",
        "statement_timeout": "30s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "1min",
        "TimeZone": "UTC",
    },
}


def test_every_connection_is_told_what_we_rely_on(store: Store) -> None:
    dialect = store.engine.dialect.name
    ask = "PRAGMA" if dialect == "sqlite" else "SHOW"
    wanted = PROMISES[dialect]
    with store.transaction() as session:
        assert {name: session.execute(text(f"{ask} {name}")).scalar_one() for name in wanted} == wanted


def test_a_reading_session_cannot_write(store: Store) -> None:
    given.job(store)
    with pytest.raises(DBAPIError), store.session() as session:
        session.execute(text("DELETE FROM event"))
    with store.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM event")).scalar_one() == 1
        session.execute(text("DELETE FROM event"))


def test_the_databases_clock_goes_on_within_a_transaction(store: Store) -> None:
    with store.transaction() as session:
        first = now(session)
        _ = [session.execute(text("SELECT 1")) for _ in range(200)]
        threading.Event().wait(0.005)
        second = now(session)
    assert first < second
    assert first.utcoffset() == timedelta(0)
    assert abs(second - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_moment_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(StatementError, match="time zone"), store.session() as session:
        session.query(DatasetRow).filter(DatasetRow.created_at < datetime(2026, 1, 1)).all()


def test_a_moment_comes_back_as_it_was(store: Store) -> None:
    job = given.job(store)
    assert given.found(store, job.id).created_at == job.created_at


def test_writers_wait_for_each_other_instead_of_failing(store: Store) -> None:
    job = given.running(store)

    def write() -> None:
        for _ in range(10):
            _step(store, job.id, job.token)

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert given.found(store, job.id).progress["seen"] == 60


def _step(store: Store, job: str, token: int) -> None:
    with store.transaction() as session:
        jobs = Jobs(session)
        jobs.beat(job, token, 60)  # takes the row's lock, so that what is read next is the latest
        seen = jobs.get(job).progress.get("seen", 0)
        jobs.record(job, token, progress={"seen": seen + 1})


def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:9/none"
    store = Store.open(settings_for(tmp_path, database_url=url))
    with pytest.raises(Unavailable, match="did not answer"), store.session() as session:
        session.execute(text("SELECT 1"))
    assert "did not answer" in str(store.parts()["database"])
    store.close()


def test_the_memory_imports_no_tensors_and_no_web() -> None:
    code = "import sys, store; print(sorted({'torch', 'numpy', 'fastapi', 'starlette'} & set(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert answer.stdout.strip() == "[]"
