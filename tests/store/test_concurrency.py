from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import (
    Conflict,
    Datasets,
    EventLog,
    Fenced,
    Idempotency,
    Jobs,
    JobState,
    Models,
    NotFound,
    Store,
    StoreSettings,
    ids,
)
from tests.store import given


def _together(count: int, act: Callable[[int], object]) -> list[object]:
    """Run `act` in that many threads that begin at once; what they answer, or raise."""
    gate = threading.Barrier(count)

    def run(number: int) -> object:
        gate.wait()
        try:
            return act(number)
        except Exception as problem:
            return problem

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def _claim_all(store: Store, worker: str) -> list[str]:
    claimed: list[str] = []
    while True:
        with store.transaction() as session:
            job = Jobs(session).claim_next(worker=worker, devices=["cpu"], lease_seconds=60)
        if job is None:
            return claimed
        claimed.append(job.id)


def test_many_claimers_never_claim_a_job_twice(store: Store) -> None:
    data = given.dataset(store)
    made = [given.job(store, data, owner=f"o{n % 3}").id for n in range(40)]
    claims = _together(6, lambda number: _claim_all(store, f"w{number}"))
    flat = [job for mine in claims if isinstance(mine, list) for job in mine]
    assert sorted(flat) == sorted(made)
    assert all(given.found(store, job).token == 1 for job in made)


def _claim_in_a_process(settings: StoreSettings, worker: str) -> list[str]:
    store = Store.open(settings)
    try:
        return _claim_all(store, worker)
    finally:
        store.close()


def test_many_processes_never_claim_a_job_twice(store: Store, settings: StoreSettings) -> None:
    data = given.dataset(store)
    made = [given.job(store, data).id for _ in range(30)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        claims = pool.starmap(_claim_in_a_process, [(settings, f"w{number}") for number in range(2)])
        pool.close()
        pool.join()
    assert sorted(job for mine in claims for job in mine) == sorted(made)


def test_event_numbers_have_no_gaps_and_a_reader_never_skips_one(store: Store) -> None:
    job = given.running(store)
    writers, rounds = 4, 12
    done = threading.Event()

    def write(number: int) -> None:
        for turn in range(rounds):
            with store.transaction() as session:
                facts = {"writer": number, "turn": turn}
                events = [("log", {**facts, "part": part}) for part in range(1 + turn % 3)]
                Jobs(session).record(job.id, job.token, events=events)

    def read() -> list[tuple[int, object]]:
        seen: list[tuple[int, object]] = []
        while True:
            last_look = done.is_set()
            with store.session() as session:
                new = EventLog(session).read(job.id, after=seen[-1][0] if seen else 0)
            seen += [(event.number, event.data) for event in new]
            if last_look and not new:
                return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        assert _together(writers, write) == [None] * writers
        done.set()
        seen = reading.result(60)
    total = 2 + writers * sum(1 + turn % 3 for turn in range(rounds))
    assert [number for number, _ in seen] == list(range(1, total + 1))
    assert given.found(store, job.id).events == total
    assert max(Counter(str(data) for _, data in seen).values()) == 1


def test_one_job_is_finished_by_one_of_many(store: Store) -> None:
    job = given.running(store)

    def finish(number: int) -> str:
        with store.transaction() as session:
            return Jobs(session).finish(job.id, job.token, JobState.SUCCEEDED, ended=str(number)).id

    answers = _together(5, finish)
    assert Counter(type(answer) for answer in answers) == {str: 1, Fenced: 4}
    assert given.found(store, job.id).events == 4


def test_many_caretakers_reap_a_lost_worker_once(store: Store) -> None:
    for _ in range(6):
        given.running(store, lease=-1)

    def reap(_number: int) -> int:
        with store.transaction() as session:
            return len(Jobs(session).reap())

    assert sum(int(str(answer)) for answer in _together(4, reap)) == 6


def test_a_fenced_worker_leaves_neither_model_nor_end(store: Store) -> None:
    zombie = given.running(store, lease=-1)
    with store.transaction() as session:
        Jobs(session).reap()

    def publish() -> None:
        with store.transaction() as session:
            row = Models(session).register(name="faces", job_id=zombie.id, dataset_id=None, manifest={})
            Jobs(session).finish(zombie.id, zombie.token, JobState.SUCCEEDED, model_version=row.version)

    with pytest.raises(Fenced):
        publish()
    assert given.found(store, zombie.id).state is JobState.QUEUED
    with store.session() as session, pytest.raises(NotFound):
        Models(session).versions("faces")


def test_versions_registered_at_once_are_numbered_without_gaps(store: Store) -> None:
    def register(_number: int) -> int:
        with store.transaction() as session:
            return (
                Models(session)
                .register(name="faces", job_id=ids.new("job"), dataset_id=None, manifest={})
                .version
            )

    assert sorted(int(str(answer)) for answer in _together(6, register)) == [1, 2, 3, 4, 5, 6]


def test_a_key_sent_many_times_at_once_is_answered_once(store: Store) -> None:
    def begin(_number: int) -> object:
        with store.transaction() as session:
            return Idempotency(session).begin("k", "c", "POST /v1/jobs", "ab" * 32)

    answers = _together(6, begin)
    assert Counter(type(answer) for answer in answers) == {type(None): 1, Conflict: 5}


def test_a_dataset_is_either_removed_or_has_its_job(store: Store) -> None:
    for _ in range(8):
        data = given.dataset(store)

        def act(number: int, data_id: str = data.id) -> object:
            with store.transaction() as session:
                if number == 0:
                    return Datasets(session).remove(data_id)
                return Jobs(session).create(
                    kind="train",
                    spec={},
                    dataset_id=data_id,
                    dataset_name="d",
                    model=None,
                    labels={},
                    device="cpu",
                )

        removed, created = _together(2, act)
        assert isinstance(removed, Conflict) != isinstance(created, NotFound), (removed, created)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_claimer_passes_by_what_another_is_just_claiming(store: Store) -> None:
    data = given.dataset(store)
    first, second = given.job(store, data), given.job(store, data)
    with store.transaction() as session:
        claimed = Jobs(session).claim_next(worker="w1", devices=["cpu"], lease_seconds=60)
        assert claimed is not None
        assert claimed.id == first.id
        assert given.claim(store, worker="w2").id == second.id  # though the first is not committed yet
