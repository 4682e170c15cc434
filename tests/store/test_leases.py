from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from store import EventLog, Fenced, Jobs, JobState, Store
from store.tables import JobRow
from tests.store import given


def _read(store: Store, job: str) -> list[tuple[str, dict[str, object]]]:
    with store.session() as session:
        return [(event.type, event.data) for event in EventLog(session).read(job)]


def _reap(store: Store) -> list[JobRow]:
    with store.transaction() as session:
        return Jobs(session).reap()


def test_a_claim_gives_a_token_and_a_lease_by_the_databases_clock(store: Store) -> None:
    job = given.job(store)
    claimed = given.claim(store, worker="w7", lease=30)
    assert claimed.id == job.id
    assert (claimed.state, claimed.token, claimed.attempts, claimed.worker) == (JobState.RUNNING, 1, 1, "w7")
    assert claimed.lease_until == claimed.updated_at + timedelta(seconds=30)
    assert claimed.started_at == claimed.updated_at
    assert claimed.revision == job.revision + 1
    assert _read(store, job.id)[-1] == ("state", {"state": "running", "attempt": 1, "worker": "w7"})


def test_nothing_is_claimed_where_nothing_waits_for_the_device(store: Store) -> None:
    given.job(store, device="gpu")
    with store.transaction() as session:
        assert Jobs(session).claim_next(worker="w", devices=["cpu"], lease_seconds=9) is None
    assert given.claim(store, devices=("cpu", "gpu")).device == "gpu"


def test_priority_goes_before_fairness_and_fairness_before_age(store: Store) -> None:
    data = given.dataset(store)
    a1, a2, b1, c1, a3 = (
        given.job(store, data, owner=owner, priority=priority)
        for owner, priority in [("a", 0), ("a", 0), ("b", 0), (None, 0), ("a", 1)]
    )
    assert [given.claim(store).id for _ in range(5)] == [a3.id, b1.id, c1.id, a1.id, a2.id]


def test_a_beat_renews_the_lease_without_a_visible_change(store: Store) -> None:
    job = given.running(store, lease=1)
    with store.transaction() as session:
        Jobs(session).beat(job.id, job.token, 500)
    after = given.found(store, job.id)
    assert job.lease_until is not None
    assert after.lease_until is not None
    assert after.lease_until > job.lease_until + timedelta(seconds=400)
    assert after.revision == job.revision


def test_a_record_lays_progress_and_metrics_over_what_is_there(store: Store) -> None:
    job = given.running(store)
    with store.transaction() as session:
        jobs = Jobs(session)
        number = jobs.record(
            job.id,
            job.token,
            progress={"step": 10, "epoch": 1, "rows_per_second": 100.0},
            metrics={"error": 5.0},
            baselines={"mean": 9.0, "pca": 3.0},
            events=[("step", {"step": 10}), ("epoch", {"epoch": 1})],
        )
        assert number == 4
        assert jobs.record(job.id, job.token, metrics={"loss": 4.0}) == 4
    after = given.found(store, job.id)
    assert after.progress == {"epoch": 1, "step": 10, "epochs": 20, "rows_per_second": 100.0}
    assert after.metrics == {"error": 5.0, "loss": 4.0}
    assert after.baselines == {"mean": 9.0, "pca": 3.0}
    assert after.revision == job.revision + 2


def test_events_alone_are_no_change_of_the_job(store: Store) -> None:
    job = given.running(store)
    with store.transaction() as session:
        assert Jobs(session).record(job.id, job.token, events=[("log", {"message": "hello"})]) == 3
    assert given.found(store, job.id).revision == job.revision


def test_progress_never_goes_backwards(store: Store) -> None:
    job = given.running(store)
    for progress in (
        {"step": 50, "epoch": 2},
        {"step": 30, "epoch": 1, "rows_per_second": 7.0},
        {"seconds_left": 1},
    ):
        with store.transaction() as session:
            Jobs(session).record(job.id, job.token, progress=progress)
    assert given.found(store, job.id).progress == {
        "epoch": 2,
        "step": 50,
        "epochs": 20,
        "rows_per_second": 7.0,
        "seconds_left": 1,
    }


def test_numbers_that_are_not_finite_are_kept_as_null(store: Store) -> None:
    job = given.running(store)
    with store.transaction() as session:
        facts = {"loss": float("nan"), "all": [float("inf"), 1.0]}
        Jobs(session).record(job.id, job.token, metrics=facts, events=[("step", facts)])
    assert given.found(store, job.id).metrics == {"loss": None, "all": [None, 1.0]}
    assert _read(store, job.id)[-1] == ("step", {"loss": None, "all": [None, 1.0]})


def test_text_that_postgresql_cannot_index_is_still_kept(store: Store) -> None:
    job = given.running(store)
    with store.transaction() as session:
        Jobs(session).record(job.id, job.token, events=[("log", {"message": "a\x00b \ud800"})])
    assert _read(store, job.id)[-1] == ("log", {"message": "a\x00b \ud800"})


def test_a_finished_job_says_so_in_its_row_and_in_its_last_two_events(store: Store) -> None:
    job = given.running(store)
    with store.transaction() as session:
        Jobs(session).finish(
            job.id, job.token, JobState.SUCCEEDED, ended="epochs", metrics={"error": 1.5}, model_version=3
        )
    after = given.found(store, job.id)
    assert (after.state, after.ended, after.model_version, after.lease_until) == (
        "succeeded",
        "epochs",
        3,
        None,
    )
    assert after.metrics == {"error": 1.5}
    assert after.finished_at is not None
    facts = {
        "state": "succeeded",
        "ended": "epochs",
        "problem": None,
        "model": {"name": "faces", "version": 3},
    }
    assert _read(store, job.id)[-2:] == [("state", {"state": "succeeded"}), ("done", facts)]


def test_a_job_given_back_waits_again_and_has_lost_no_attempt(store: Store) -> None:
    job = given.running(store)
    with store.transaction() as session:
        Jobs(session).give_back(job.id, job.token)
    after = given.found(store, job.id)
    assert (after.state, after.attempts, after.lost, after.worker, after.lease_until) == (
        "queued",
        0,
        0,
        None,
        None,
    )
    assert after.hinted_at is None
    again = given.claim(store)
    assert (again.token, again.attempts) == (2, 1)


def test_a_job_given_back_after_a_cancel_is_cancelled(store: Store) -> None:
    job = given.running(store)
    with store.transaction() as session:
        Jobs(session).cancel(job.id)
        Jobs(session).give_back(job.id, job.token)
    assert given.found(store, job.id).state is JobState.CANCELLED


def test_a_stop_outlives_the_worker_that_was_asked(store: Store) -> None:
    job = given.running(store)
    with store.transaction() as session:
        Jobs(session).stop(job.id)
        Jobs(session).give_back(job.id, job.token)
    again = given.claim(store)
    with store.transaction() as session:
        assert Jobs(session).beat(again.id, again.token, 9) == "stop"


WRITES: dict[str, Callable[[Jobs, JobRow], object]] = {
    "beat": lambda jobs, job: jobs.beat(job.id, job.token, 60),
    "record": lambda jobs, job: jobs.record(
        job.id, job.token, progress={"step": 9}, events=[("step", {"step": 9})]
    ),
    "finish": lambda jobs, job: jobs.finish(job.id, job.token, JobState.SUCCEEDED),
    "pause": lambda jobs, job: jobs.pause(job.id, job.token),
    "give back": lambda jobs, job: jobs.give_back(job.id, job.token),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_worker_that_slept_through_its_lease_cannot_write(write: str, store: Store) -> None:
    zombie = given.running(store, lease=-1)
    assert [job.id for job in _reap(store)] == [zombie.id]
    with pytest.raises(Fenced), store.transaction() as session:  # while it waits
        WRITES[write](Jobs(session), zombie)
    held = given.claim(store, worker="w2")
    before = given.found(store, held.id)
    with pytest.raises(Fenced) as fenced, store.transaction() as session:  # while somebody else has it
        WRITES[write](Jobs(session), zombie)
    assert (fenced.value.job, fenced.value.token) == (zombie.id, zombie.token)
    after = given.found(store, held.id)
    assert (after.token, after.worker, after.revision, after.events) == (
        2,
        "w2",
        before.revision,
        before.events,
    )
    assert (after.progress, after.lease_until) == (before.progress, before.lease_until)


def test_a_lost_worker_is_requeued_twice_and_the_third_one_ends_the_job(store: Store) -> None:
    job = given.job(store)
    for lost in (1, 2, 3):
        given.claim(store, worker=f"w{lost}", lease=-1)
        (reaped,) = _reap(store)
        assert (reaped.id, reaped.lost, reaped.attempts) == (job.id, lost, lost)
        assert reaped.state is (JobState.FAILED if lost == 3 else JobState.QUEUED)
    problem = given.found(store, job.id).problem
    assert problem is not None
    assert problem["type"] == "worker-lost"
    assert set(problem) == {"type", "title", "detail"}
    assert _read(store, job.id)[-1][0] == "done"
    assert _reap(store) == []


def test_a_lease_that_has_not_run_out_is_left_alone(store: Store) -> None:
    given.running(store, lease=60)
    with store.session() as session:
        assert not Jobs(session).any_expired()
    assert _reap(store) == []


def test_a_lost_job_that_was_to_be_cancelled_is_cancelled(store: Store) -> None:
    job = given.running(store, lease=-1)
    with store.transaction() as session:
        Jobs(session).cancel(job.id)
    assert [reaped.state for reaped in _reap(store)] == [JobState.CANCELLED]


def test_only_jobs_without_a_recent_hint_are_overdue_and_only_once(store: Store) -> None:
    first, second = given.job(store), given.job(store, device="gpu")
    given.running(store)
    with store.session() as session:
        assert not Jobs(session).any_overdue(30)
    with store.transaction() as session:
        session.execute(update(JobRow).values(hinted_at=first.created_at - timedelta(seconds=31)))
    with store.session() as session:
        assert Jobs(session).any_overdue(30)
    with store.transaction() as session:
        # the first one was claimed by `running`, as the oldest
        assert sorted(Jobs(session).overdue(30)) == ["cpu", "gpu"]
    with store.transaction() as session:
        assert Jobs(session).overdue(30) == []
    assert given.found(store, second.id).revision == second.revision


def test_many_logs_are_read_at_once_each_after_its_own_number(store: Store) -> None:
    one, two = given.running(store), given.running(store)
    quiet = given.job(store)
    with store.transaction() as session:
        for job in (one, two):
            Jobs(session).record(job.id, job.token, events=[("log", {"n": n}) for n in range(3)])
    with store.session() as session:
        log = EventLog(session)
        asked = {one.id: 3, two.id: 0, quiet.id: 1, "job_nobody": 0}
        got = [(event.job_id, event.number) for event in log.read_many(asked)]
        assert sorted(got) == sorted([(one.id, 4), (one.id, 5)] + [(two.id, n) for n in range(1, 6)])
        assert len(log.read_many(asked, limit=4)) == 4
        heads = log.heads([*asked])
        assert {job: (head.number, head.state) for job, head in heads.items()} == {
            one.id: (5, "running"),
            two.id: (5, "running"),
            quiet.id: (1, "queued"),
        }
