from __future__ import annotations

import pytest
from sqlalchemy import select

from store import Conflict, Datasets, EventLog, EventRow, Jobs, JobState, NotFound, Store, ids
from store.errors import BadName, IllegalMove
from tests.store import given


def _events(store: Store, job: str) -> list[tuple[int, str]]:
    with store.session() as session:
        return [(event.number, event.type) for event in EventLog(session).read(job)]


def test_a_new_job_is_queued_with_its_first_event(store: Store) -> None:
    job = given.job(store, labels={"team": "vision"})
    again = given.found(store, job.id)
    assert (again.state, again.events, again.revision, again.attempts) == (JobState.QUEUED, 1, 1, 0)
    assert again.progress == {"epoch": 0, "step": 0, "epochs": 20}
    assert again.created_at == again.updated_at == again.hinted_at
    assert again.created_at.utcoffset() is not None
    assert _events(store, job.id) == [(1, "state")]


def test_a_job_whose_transaction_fails_leaves_neither_row_nor_event(store: Store) -> None:
    data = given.dataset(store)
    made: list[str] = []

    def fail() -> None:
        with store.transaction() as session:
            made.append(given.queued(session, data).id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(NotFound):
        given.found(store, made[0])
    with store.session() as session:
        assert session.scalars(select(EventRow)).all() == []


def test_a_job_needs_a_dataset_that_is_there(store: Store) -> None:
    data = given.dataset(store)
    with store.transaction() as session:
        Datasets(session).remove(data.id)
    with pytest.raises(NotFound) as refused:
        given.job(store, data)
    assert (refused.value.kind, refused.value.identity) == ("dataset", data.id)


@pytest.mark.parametrize("name", ["stats", "", ".hidden", "a" * 65, "a/b", "a\x00", "é"])
def test_a_model_name_that_could_not_be_asked_for_is_refused(name: str, store: Store) -> None:
    with pytest.raises(BadName):
        given.job(store, model=name)


@pytest.mark.parametrize(
    "junk", ["", "job_", "job_1", "ds_" + "0" * 26, "job_\x00", "../etc", "job_" + "u" * 26]
)
def test_what_is_no_id_is_not_found(junk: str, store: Store) -> None:
    for act in ("get", "cancel", "stop", "resume", "remove"):
        with pytest.raises(NotFound), store.transaction() as session:
            getattr(Jobs(session), act)(junk)
    assert _events(store, junk) == []


def test_lists_filter_by_state_dataset_model_and_every_label(store: Store) -> None:
    digits, faces = given.dataset(store, "digits"), given.dataset(store, "faces")
    first = given.job(store, digits, model="a", labels={"team": "x", "run": "1"})
    second = given.job(store, faces, model="b", labels={"team": "x", "run": "2"})
    third = given.job(store, faces, model="b")
    with store.transaction() as session:
        Jobs(session).cancel(third.id)

    def listed(**filters: object) -> list[str]:
        with store.session() as session:
            return [job.id for job in Jobs(session).page(**filters).items]  # type: ignore[arg-type] # by name

    assert listed() == [third.id, second.id, first.id]
    assert listed(state="queued") == [second.id, first.id]
    assert listed(dataset="faces") == listed(dataset=faces.id) == [third.id, second.id]
    assert listed(model="a") == [first.id]
    assert listed(labels={"team": "x"}) == [second.id, first.id]
    assert listed(labels={"team": "x", "run": "2"}) == [second.id]
    assert listed(labels={"team": "y"}) == listed(model="a\x00") == listed(dataset="\x00") == []


@pytest.mark.parametrize(
    "labels", [{"": "x"}, {"k" * 65: "x"}, {"k": "v" * 257}, {"k": "\x00"}, {"k": "\ud800"}]
)
def test_labels_that_one_database_would_refuse_are_refused_by_both(
    labels: dict[str, str], store: Store
) -> None:
    with pytest.raises(BadName):
        given.job(store, labels=labels)


def test_the_position_is_the_order_in_which_jobs_are_claimed(store: Store) -> None:
    given.running(store, owner="busy")
    data = given.dataset(store)
    waiting = [
        given.job(store, data, owner="busy"),
        given.job(store, data, owner=None),
        given.job(store, data, owner="idle", priority=-1),
        given.job(store, data, owner="busy", priority=5),
        given.job(store, data, owner=None),
        given.job(store, data, owner="idle", device="gpu"),
    ]
    with store.session() as session:
        positions = [Jobs(session).position(job) for job in waiting]
    assert positions == [4, 2, 5, 1, 3, 1]


def test_the_next_in_line_is_the_next_claimed(store: Store) -> None:
    data = given.dataset(store)
    for priority, owner in [(0, "a"), (0, "a"), (1, "b"), (0, None), (0, "b"), (1, "a")]:
        given.job(store, data, owner=owner, priority=priority)
    for _ in range(6):
        with store.session() as session:
            queued = Jobs(session).page(state="queued").items
            first = [job.id for job in queued if Jobs(session).position(job) == 1]
        assert [given.claim(store).id] == first


def test_a_queued_job_is_cancelled_at_once(store: Store) -> None:
    job = given.job(store)
    with store.transaction() as session:
        Jobs(session).cancel(job.id)
    after = given.found(store, job.id)
    assert after.state is JobState.CANCELLED
    assert after.finished_at is not None
    assert _events(store, job.id) == [(1, "state"), (2, "state"), (3, "done")]


def test_a_running_job_is_asked_to_end_and_its_worker_hears_it_with_the_next_beat(store: Store) -> None:
    job = given.running(store)
    revision = job.revision
    with store.transaction() as session:
        assert Jobs(session).beat(job.id, job.token, 60) is None
        Jobs(session).stop(job.id)
    with store.transaction() as session:
        assert Jobs(session).beat(job.id, job.token, 60) == "stop"
        Jobs(session).cancel(job.id)
        Jobs(session).cancel(job.id)
        Jobs(session).stop(job.id)
    with store.transaction() as session:
        assert Jobs(session).beat(job.id, job.token, 60) == "cancel"
    after = given.found(store, job.id)
    assert after.state is JobState.RUNNING
    assert after.revision == revision + 2, "asking twice changes nothing"


def test_a_stop_needs_a_running_job(store: Store) -> None:
    job = given.job(store)
    with pytest.raises(IllegalMove, match="only a running job"), store.transaction() as session:
        Jobs(session).stop(job.id)


def test_a_resumed_job_keeps_its_progress_and_its_attempts(store: Store) -> None:
    job = given.running(store)
    with store.transaction() as session:
        jobs = Jobs(session)
        jobs.record(job.id, job.token, progress={"step": 70, "epoch": 3})
        jobs.finish(job.id, job.token, "failed", problem={"type": "worker-lost"})
    with store.transaction() as session:
        Jobs(session).resume(job.id)
    after = given.found(store, job.id)
    assert after.progress == {"epoch": 3, "step": 70, "epochs": 20}
    assert (after.state, after.attempts, after.lost, after.problem, after.asked) == (
        JobState.QUEUED,
        1,
        0,
        None,
        None,
    )
    assert after.finished_at is None
    assert given.claim(store).token == job.token + 1


def test_a_job_whose_dataset_is_gone_cannot_be_resumed(store: Store) -> None:
    job = given.over(store, JobState.FAILED)
    with store.transaction() as session:
        Datasets(session).remove(job.dataset_id)
    with pytest.raises(Conflict, match="was removed"), store.transaction() as session:
        Jobs(session).resume(job.id)


def test_a_removed_job_takes_its_events_and_labels_with_it(store: Store) -> None:
    job = given.job(store, labels={"a": "b"})
    with store.transaction() as session:
        Jobs(session).cancel(job.id)
    with store.transaction() as session:
        Jobs(session).remove(job.id)
    with pytest.raises(NotFound):
        given.found(store, job.id)
    assert _events(store, job.id) == []
    with store.session() as session:
        assert Jobs(session).page(labels={"a": "b"}).items == []


def test_jobs_are_counted_by_device_and_state(store: Store) -> None:
    given.running(store)
    given.job(store, device="gpu")
    given.job(store)
    with store.session() as session:
        counts = Jobs(session).counts()
    assert counts == {("cpu", JobState.RUNNING): 1, ("gpu", JobState.QUEUED): 1, ("cpu", JobState.QUEUED): 1}


def test_ids_sort_by_age_and_say_when_they_were_made() -> None:
    made = [ids.new("job") for _ in range(5000)]
    assert made == sorted(set(made))
    assert all(ids.is_id(one, "job") and not ids.is_id(one, "ds") for one in made)
    assert 0 <= ids.made_at(made[-1]) - ids.made_at(made[0]) < 60
