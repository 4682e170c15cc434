"""Many workers and caretakers at one study at once: nobody waits in a circle, and the outcome is the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from store import Caretaker, Fenced, JobRow, Jobs, JobState, Models, Store, Studies, StudyRow
from store.rounds import Rounds
from store.workers import WorkerFacts, Workers
from tests.store import given, studying
from tests.store.conftest import settings_for

WORKERS = 4


def _error(job: JobRow) -> float:
    place = studying.place(job)
    return abs(int(place["cell"]) - 3.2) + 0.1 * int(place["seed"])


def _do(store: Store, job: JobRow) -> None:
    """A job as a worker does it: it tells of itself, then pauses, ends, or is lost on the way."""
    with store.transaction() as session:
        Jobs(session).record(job.id, job.token, progress={"step": 1}, events=[("log", {"message": "at it"})])
    with store.transaction() as session:
        if Jobs(session).beat(job.id, job.token, 60) == "cancel":
            Jobs(session).finish(job.id, job.token, JobState.CANCELLED)
            return
    if job.attempts == 1 and studying.place(job)["cell"] % 3 == 0 and job.lost == 0:
        with store.transaction() as session:
            Jobs(session).beat(job.id, job.token, -1)
        return
    if studying.place(job)["pause_epochs"] is not None:
        studying.pause(store, job, _error(job))
    else:
        studying.finish(store, job, _error(job))


def _work(store: Store, over: Callable[[], bool]) -> None:
    while not over():
        with store.transaction() as session:
            job = Jobs(session).claim_next(worker="w", devices=["cpu"], lease_seconds=60)
        if job is None:
            time.sleep(0.005)
            continue
        try:
            _do(store, job)
        except Fenced:
            continue


def _care(store: Store, over: Callable[[], bool]) -> None:
    while not over():
        with store.transaction() as session:
            Jobs(session).reap()
        with store.transaction() as session:
            Jobs(session).overdue(-60)
        Caretaker(store).advance_studies()


def _crowd(store: Store, made: StudyRow, also: Callable[[], object] | None = None) -> StudyRow:
    deadline = time.monotonic() + 60

    def over() -> bool:
        assert time.monotonic() < deadline, studying.states(store, made)
        return studying.found(store, made).is_over

    with ThreadPoolExecutor(WORKERS + 3) as pool:
        crowd: list[Future[object]] = [pool.submit(_work, store, over) for _ in range(WORKERS)]
        crowd += [pool.submit(_care, store, over) for _ in range(2)]
        if also is not None:
            crowd.append(pool.submit(also))
        for each in crowd:
            each.result()
    return studying.found(store, made)


def test_a_crowd_brings_a_study_to_the_end_that_one_worker_would(store: Store) -> None:
    made = studying.study(store, cells=6, seeds=(0, 1), rungs=studying.RACE)
    assert _crowd(store, made).state is JobState.SUCCEEDED
    rungs = {cell: studying.place(job)["rung"] for (cell, _), job in studying.jobs(store, made).items()}
    assert rungs == {0: 1, 1: 1, 2: 1, 3: 3, 4: 2, 5: 1}
    with store.session() as session:
        assert Models(session).resolve("faces").error == pytest.approx(0.2)


def test_a_study_that_is_cancelled_amid_the_crowd_ends(store: Store) -> None:
    for turn in range(3):
        made = studying.study(store, cells=6, rungs=studying.RACE)

        def cancel(study_id: str = made.id, turn: int = turn) -> None:
            time.sleep(0.03 * turn)
            with store.transaction() as session:
                studies = Studies(session)
                if not studies.get(study_id).is_over:
                    studies.cancel(study_id)

        assert _crowd(store, made, cancel).state in (JobState.CANCELLED, JobState.SUCCEEDED)
        assert not {"queued", "running", "held"} & set(studying.states(store, made))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_claim_does_not_wait_for_a_study_that_somebody_holds(store: Store) -> None:
    made = studying.study(store, cells=2)
    with ThreadPoolExecutor(1) as pool, store.transaction() as session:
        Studies(session).advance(made.id)
        assert pool.submit(given.claim, store).result(4).study_id == made.id
    assert studying.found(store, made).state is JobState.QUEUED
    Caretaker(store).advance_studies()
    assert studying.found(store, made).state is JobState.RUNNING


ENDS: dict[str, Callable[[Jobs, JobRow], object]] = {
    "finish": lambda jobs, job: jobs.finish(job.id, job.token, JobState.FAILED),
    "pause": lambda jobs, job: jobs.pause(job.id, job.token),
    "give back": lambda jobs, job: jobs.give_back(job.id, job.token),
    "cancel": lambda jobs, job: jobs.cancel(job.id),
}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("act", ENDS)
def test_whoever_ends_a_job_waits_for_its_study_before_it_holds_the_job(act: str, store: Store) -> None:
    made = studying.study(store, cells=2, rungs=studying.RACE)
    job = given.claim(store)

    def end() -> None:
        with store.transaction() as session:
            ENDS[act](Jobs(session), job)

    with ThreadPoolExecutor(1) as pool:
        with store.transaction() as session:
            study = Rounds(session).hold(made.id)
            ended = pool.submit(end)
            _until(lambda: _somebody_waits(store))
            assert len(Rounds(session).jobs(study)) == 2
        ended.result(10)


def _somebody_waits(store: Store) -> bool:
    with store.session() as session:
        waiting: int = session.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one()
        return waiting > 0


def _rolled_back(store: Store) -> None:
    """A study for a GPU, whose transaction failed in the end."""
    data = given.dataset(store)
    with store.transaction() as session:
        Studies(session).create(
            document={},
            plan=studying.plan(),
            dataset_id=data.id,
            dataset_name=data.name,
            model=None,
            labels={},
            device="gpu",
        )
        raise RuntimeError


@pytest.fixture
def housed(database_url: str, broker: str, tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(settings_for(tmp_path, database_url=database_url, broker_url=broker))
    yield opened
    opened.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_committed_study_is_hinted_at_once_for_each_living_worker(housed: Store) -> None:
    with housed.transaction() as session:
        for name in ("a", "b"):
            Workers(session).beat(WorkerFacts(name, "host", 1, "cpu", "0"), "idle")
        Workers(session).beat(WorkerFacts("c", "host", 1, "gpu", "0"), "idle")
    studying.study(housed, cells=5)
    _until(lambda: housed.queue.waiting("cpu") == 2)
    with pytest.raises(RuntimeError):
        _rolled_back(housed)
    studying.study(housed, cells=1)
    _until(lambda: housed.queue.waiting("cpu") == 3)
    assert housed.queue.waiting("gpu") == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_workers_are_hinted_of_those_that_go_on_and_of_those_that_are_resumed(housed: Store) -> None:
    made = studying.study(housed, cells=2, rungs=studying.RACE)
    _until(lambda: housed.queue.waiting("cpu") == 1)
    for job in studying.claims(housed):
        studying.pause(housed, job, 1.0)
    _until(lambda: housed.queue.waiting("cpu") == 2)
    studying.cancel(housed, made)
    studying.resume(housed, made)
    _until(lambda: housed.queue.waiting("cpu") == 3)


def _until(come: Callable[[], bool]) -> None:
    for _ in range(400):
        if come():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")
