from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from store import (
    Caretaker,
    Datasets,
    Idempotency,
    Jobs,
    JobState,
    Models,
    Store,
    WorkerFacts,
    Workers,
    ids,
    migrate,
)
from store.database import now
from store.removals import Removals
from store.tables import IdempotencyRow, JobRow, WorkerRow
from tests.store import given
from tests.store.conftest import settings_for

FOLDERS = ("datasets", "jobs", "models")


@pytest.fixture
def housed(database_url: str, broker: str, tmp_path: Path) -> Iterator[Store]:
    """A store with a broker, and little patience."""
    values = {"hint_seconds": 60, "caretaker_seconds": 0.05, "checkpoints_kept_days": 7}
    store = Store.open(settings_for(tmp_path, database_url=database_url, broker_url=broker, **values))
    yield store
    store.close()


def _eventually(what: Callable[[], bool]) -> None:
    for _ in range(600):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def _age(store: Store, column: str, **ago: float) -> None:
    with store.transaction() as session:
        for job in session.query(JobRow):
            session.execute(
                update(JobRow)
                .where(JobRow.id == job.id)
                .values({column: getattr(job, column) - timedelta(**ago)})
            )


def test_a_lost_worker_is_requeued_and_a_hint_sent(housed: Store) -> None:
    job = given.running(housed, lease=-1)
    caretaker = Caretaker(housed)
    caretaker.start()
    caretaker.start()
    _eventually(lambda: housed.queue.waiting("cpu") == 1)
    caretaker.stop()
    caretaker.stop()
    assert given.found(housed, job.id).state is JobState.QUEUED


def test_hints_are_sent_again_but_do_not_pile_up(housed: Store) -> None:
    for device in ("cpu", "cpu", "gpu"):
        given.job(housed, device=device)
    caretaker = Caretaker(housed)
    caretaker.hint()
    for _ in range(3):
        _age(housed, "hinted_at", seconds=61)
        caretaker.hint()
        _eventually(lambda: (housed.queue.waiting("cpu"), housed.queue.waiting("gpu")) == (2, 1))


def test_a_hint_is_not_marked_as_sent_while_the_broker_is_away(store: Store) -> None:
    job = given.job(store)
    _age(store, "hinted_at", seconds=61)
    Caretaker(store).look()
    with store.session() as session:
        assert Jobs(session).any_overdue(60)
    assert given.found(store, job.id).state is JobState.QUEUED


def test_files_go_after_their_rows(store: Store) -> None:
    job = given.over(store, JobState.SUCCEEDED)
    for key in (f"datasets/{job.dataset_id}/rows", f"jobs/{job.id}/report.json", f"models/{job.id}/weights"):
        store.artifacts.write(key, b"x")
    with store.transaction() as session:
        Models(session).register(name="faces", job_id=job.id, dataset_id=None, manifest={})
        Datasets(session).remove(job.dataset_id)
        Jobs(session).remove(job.id)
    Caretaker(store).look()
    assert [store.artifacts.list(folder) for folder in FOLDERS] == [[], [], [job.id]], "its model stays"
    with store.transaction() as session:
        assert Removals(session).waiting() == []
        Models(session).remove("faces")
    Caretaker(store).look()
    assert store.artifacts.list("models") == []


def test_checkpoints_of_finished_jobs_are_removed_after_their_time(store: Store) -> None:
    done, recent, busy = (
        given.over(store, JobState.FAILED),
        given.over(store, JobState.FAILED),
        given.running(store),
    )
    for job in (done, recent, busy):
        store.artifacts.write(f"jobs/{job.id}/checkpoints/1.5/state", b"x")
        store.artifacts.write(f"jobs/{job.id}/report.json", b"x")
    with store.transaction() as session:
        past = done.created_at - timedelta(days=8)
        session.execute(update(JobRow).where(JobRow.id == done.id).values(finished_at=past))
        session.execute(update(JobRow).where(JobRow.id == busy.id).values(created_at=past))
    for _ in range(2):
        Caretaker(store).sweep()
    assert store.artifacts.list(f"jobs/{done.id}") == ["report.json"]
    assert store.artifacts.list(f"jobs/{recent.id}") == store.artifacts.list(f"jobs/{busy.id}")
    assert store.artifacts.exists(f"jobs/{busy.id}/checkpoints/1.5/state")
    assert given.found(store, done.id).swept_at is not None
    with store.transaction() as session:
        assert Jobs(session).resume(done.id).swept_at is None


def test_forgotten_uploads_are_removed_and_those_being_written_are_not(store: Store) -> None:
    uploads = store.settings.uploads
    past = time.time() - 25 * 3600
    for name in ("stale", "growing"):
        (uploads / name).mkdir(parents=True)
        (uploads / name / "body").write_bytes(b"x")
        os.utime(uploads / name, (past, past))
    os.utime(uploads / "stale" / "body", (past, past))
    (uploads / "file").write_bytes(b"x")
    os.utime(uploads / "file", (past, past))
    Caretaker(store).sweep()
    assert [path.name for path in uploads.iterdir()] == ["growing"]


def test_old_answers_and_dead_workers_are_forgotten(store: Store) -> None:
    facts = WorkerFacts(id="w", host="h", pid=1, device="cpu", version="1")
    with store.transaction() as session:
        for name in ("silent", "alive"):
            Workers(session).beat(replace(facts, id=name), "idle")
            Idempotency(session).begin(name, None, "r", "b")
        past = now(session) - timedelta(hours=25)
        session.execute(update(WorkerRow).where(WorkerRow.id == "silent").values(seen_at=past))
        session.execute(update(IdempotencyRow).where(IdempotencyRow.key == "silent").values(begun_at=past))
    Caretaker(store).sweep()
    with store.session() as session:
        assert [row.id for row in Workers(session).living(10**6)] == ["alive"]
        assert session.scalars(select(IdempotencyRow.key)).all() == ["alive"]


def test_files_whose_row_was_never_written_are_removed_once_they_are_old(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = given.over(store, JobState.FAILED)
    for folder, name in [("datasets", job.dataset_id), ("jobs", job.id), ("models", job.id)]:
        store.artifacts.write(f"{folder}/{name}/file", b"needed")
        store.artifacts.write(
            f"{folder}/{ids.new('ds' if folder == 'datasets' else 'job')}/file", b"young orphan"
        )
    Caretaker(store).sweep()
    assert [len(store.artifacts.list(folder)) for folder in FOLDERS] == [2, 2, 2]
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)  # long ago
    monkeypatch.setattr(ids, "_last", 0)
    for folder in FOLDERS:
        store.artifacts.write(
            f"{folder}/{ids.new('ds' if folder == 'datasets' else 'job')}/file", b"old orphan"
        )
    monkeypatch.undo()
    store.artifacts.write("datasets/notes.txt", b"somebody else's")
    Caretaker(store).sweep()
    assert [len(store.artifacts.list(folder)) for folder in FOLDERS] == [3, 2, 2]


def test_the_caretaker_outlives_a_database_that_does_not_work(empty_database: str, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, database_url=empty_database, caretaker_seconds=0.02)
    store = Store.open(settings)
    caretaker = Caretaker(store)
    with capture_logs() as lines:
        caretaker.start()
        _eventually(lambda: any(line["event"] == "caretaker failed" for line in lines))
        migrate(settings)
        job = given.running(store, lease=-1)
        _eventually(lambda: given.found(store, job.id).state is JobState.QUEUED)
        caretaker.stop()
    of_reaping = [line for line in lines if line.get("duty") == "reap"]
    assert len(of_reaping) == 2, "said when it begins and when it is over, not every round"
    store.close()


def test_many_caretakers_share_one_database(housed: Store) -> None:
    jobs = [given.running(housed, lease=-1) for _ in range(5)]
    others = [Store.open(housed.settings) for _ in range(2)]
    caretakers = [Caretaker(store) for store in (housed, *others)]
    for caretaker in caretakers:
        caretaker.start()
    _eventually(lambda: all(given.found(housed, job.id).state is JobState.QUEUED for job in jobs))
    for caretaker in caretakers:
        caretaker.stop()
    assert [given.found(housed, job.id).lost for job in jobs] == [1] * 5
    for store in others:
        store.close()
