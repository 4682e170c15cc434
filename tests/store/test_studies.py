"""Studies as their owner sees them: created, found, cancelled, resumed, removed."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from store import (
    BadName,
    Conflict,
    Datasets,
    EventLog,
    IllegalMove,
    Jobs,
    JobState,
    Models,
    NotFound,
    Store,
    Studies,
)
from store.removals import Removals
from store.tables import EventRow, JobRow, LabelRow
from tests.store import given, studying


def test_every_cell_and_seed_is_a_job_that_waits_seed_by_seed(store: Store) -> None:
    made = studying.study(store, cells=2, seeds=(5, 7), rungs=studying.RACE, labels={"goal": "x"})
    assert (made.state, made.rung, made.revision) == (JobState.QUEUED, 1, 1)
    claimed = studying.claims(store)
    assert [(studying.place(job)["seed"], studying.place(job)["cell"]) for job in claimed] == [
        (5, 0),
        (5, 1),
        (7, 0),
        (7, 1),
    ]
    first = claimed[0]
    assert first.study_id == made.id
    assert first.study_place == {
        "cell": 0,
        "values": {"init": "init_0"},
        "seed": 5,
        "rung": 1,
        "pause_epochs": 2,
        "pause_seconds": None,
        "budget_seconds": None,
        "learning_rate": "fixed",
        "keep": "winner",
    }
    assert first.spec["training"] == {"epochs": 18, "seed": 5}
    assert first.spec["init"] == {"name": "init_0"}
    assert (first.model, first.dataset_name, first.labels) == ("faces", "digits", {"team": "a"})
    assert first.progress == {"epoch": 0, "step": 0, "epochs": 18}
    with store.session() as session:
        events = [(event.number, event.type, event.data) for event in EventLog(session).read(first.id)]
    assert events[0] == (1, "state", {"state": "queued"})
    assert events[1][1:] == ("state", {"state": "running", "attempt": 1, "worker": "w1"})
    assert studying.found(store, made).state is JobState.RUNNING
    assert studying.found(store, made).started_at is not None


def test_a_training_waits_where_its_cell_s_plan_says_so(store: Store) -> None:
    made = studying.study(store, cells=1, rungs=studying.RACE, shift=1)
    assert studying.place(studying.jobs(store, made)[0, 0])["pause_epochs"] == 1
    studying.pause(store, studying.claims(store)[0], 3.0)
    assert studying.place(studying.jobs(store, made)[0, 0])["pause_epochs"] == 5


def test_a_study_needs_its_dataset_and_a_name_that_may_be_used(store: Store) -> None:
    data = given.dataset(store)
    with pytest.raises(BadName), store.transaction() as session:
        Studies(session).create(
            document={},
            plan=studying.plan(),
            dataset_id=data.id,
            dataset_name=data.name,
            model="stats",
            labels={},
            device="cpu",
        )
    with store.transaction() as session:
        Datasets(session).remove(data.id)
    with pytest.raises(NotFound):
        studying.study(store, data)
    with store.session() as session:
        assert Studies(session).page().items == []
        assert Jobs(session).page().items == []


def test_studies_are_listed_newest_first_by_state_dataset_and_label(store: Store) -> None:
    digits, curves = given.dataset(store, "digits"), given.dataset(store, "curves")
    one = studying.study(store, digits, labels={"team": "a"})
    two = studying.study(store, curves)
    studying.cancel(store, two)
    with store.session() as session:
        studies = Studies(session)
        page = studies.page(limit=1)
        assert [row.id for row in page.items] == [two.id]
        assert [row.id for row in studies.page(limit=1, after=page.next).items] == [one.id]
        assert [row.id for row in studies.page(state="queued").items] == [one.id]
        assert [row.id for row in studies.page(dataset="curves").items] == [two.id]
        assert [row.id for row in studies.page(dataset=digits.id).items] == [one.id]
        assert [row.id for row in studies.page(labels={"team": "a"}).items] == [one.id]
        with pytest.raises(NotFound):
            studies.get("study_nobody")
        with pytest.raises(NotFound):
            studies.get(one.id.replace("study", "job"))
        mine = Jobs(session).page(study=one.id).items
        assert {row.study_id for row in mine} == {one.id}
        assert len(mine) == 3
        assert Jobs(session).page(study="nobody").items == []


def test_a_cancelled_study_ends_what_waits_now_and_what_runs_once_its_worker_says_so(store: Store) -> None:
    made = studying.study(store, cells=3, rungs=studying.RACE)
    running, paused = given.claim(store), given.claim(store)
    studying.pause(store, paused, 2.0)
    after = studying.cancel(store, made)
    assert after.state is JobState.RUNNING, "one of its jobs still runs"
    assert studying.states(store, made) == ["running", "cancelled", "cancelled"]
    with store.transaction() as session:
        assert Jobs(session).beat(running.id, running.token, 60) == "cancel"
    with store.transaction() as session:
        Jobs(session).finish(running.id, running.token, JobState.CANCELLED)
    over = studying.found(store, made)
    assert (over.state, over.asked, over.problem) == (JobState.CANCELLED, None, None)
    assert over.finished_at is not None
    with pytest.raises(IllegalMove, match="cancelled study"):
        studying.cancel(store, made)


def test_a_training_that_was_finished_all_the_same_leaves_a_cancelled_study_without_a_model(
    store: Store,
) -> None:
    made = studying.study(store, cells=1)
    job = given.claim(store)
    studying.cancel(store, made)
    studying.finish(store, job, 1.0)
    assert studying.found(store, made).state is JobState.CANCELLED
    with store.session() as session:
        assert Models(session).every() == []


def test_a_resumed_study_takes_up_what_was_cancelled_and_leaves_the_race_as_it_was(store: Store) -> None:
    made = studying.study(store, cells=4, rungs=studying.RACE)
    for job in studying.claims(store):
        studying.pause(store, job, float(studying.place(job)["cell"]))
    assert studying.states(store, made) == ["queued", "queued", "cancelled", "cancelled"]
    ahead = given.claim(store)
    studying.pause(store, ahead, 0.5)
    studying.cancel(store, made)
    assert studying.states(store, made) == ["cancelled"] * 4
    again = studying.resume(store, made)
    assert (again.state, again.finished_at, again.rung) == (JobState.QUEUED, None, 2)
    assert studying.states(store, made) == ["held", "queued", "cancelled", "cancelled"]
    rest = given.claim(store)
    assert (studying.place(rest)["cell"], studying.place(rest)["pause_epochs"]) == (1, 6)
    studying.pause(store, rest, 0.9)
    assert studying.states(store, made) == ["queued", "cancelled", "cancelled", "cancelled"]
    studying.finish(store, given.claim(store), 0.4)
    assert studying.found(store, made).state is JobState.SUCCEEDED


def test_a_job_that_was_cancelled_at_its_rung_goes_on_to_that_of_the_others(store: Store) -> None:
    made = studying.study(store, cells=1, seeds=(0, 1), rungs=studying.RACE)
    one, two = studying.claims(store)
    studying.pause(store, one, 3.0)
    with store.transaction() as session:
        Jobs(session).cancel(one.id)
    studying.pause(store, two, 3.0)
    assert studying.found(store, made).rung == 2
    studying.cancel(store, made)
    studying.resume(store, made)
    assert studying.states(store, made) == ["queued", "queued"]
    assert [studying.place(job)["pause_epochs"] for job in studying.claims(store)] == [6, 6]


def test_a_failed_training_of_a_resumed_study_catches_up_with_the_others(store: Store) -> None:
    made = studying.study(store, cells=1, seeds=(0, 1), rungs=studying.RACE)
    one, two = studying.claims(store)
    studying.fail(store, one)
    studying.pause(store, two, 3.0)
    assert studying.states(store, made) == ["failed", "queued"]
    studying.cancel(store, made)
    studying.resume(store, made)
    assert studying.states(store, made) == ["queued", "queued"]
    assert [studying.place(job)["pause_epochs"] for job in studying.claims(store)] == [6, 6]


def test_only_a_failed_or_cancelled_study_can_be_resumed_and_its_dataset_must_be_there(store: Store) -> None:
    data = given.dataset(store)
    made = studying.study(store, data, cells=1)
    with pytest.raises(IllegalMove, match="queued study"):
        studying.resume(store, made)
    job = given.claim(store)
    studying.cancel(store, made)
    with pytest.raises(IllegalMove, match="running study"):
        studying.resume(store, made)
    assert studying.found(store, made).asked == "cancel", "which is still being carried out"
    with store.transaction() as session:
        Jobs(session).finish(job.id, job.token, JobState.CANCELLED)
    with store.transaction() as session:
        Datasets(session).remove(data.id)
    with pytest.raises(Conflict, match="dataset digits was removed"):
        studying.resume(store, made)


def test_a_study_whose_every_training_fails_has_failed_and_may_be_tried_again(store: Store) -> None:
    made = studying.study(store, cells=2, rungs=studying.RACE)
    for job in studying.claims(store):
        studying.fail(store, job, f"cell {studying.place(job)['cell']} diverged")
    over = studying.found(store, made)
    assert over.state is JobState.FAILED
    assert over.problem is not None
    assert over.problem["type"] == "every-training-failed"
    assert "cell 0 diverged" in over.problem["detail"]
    studying.resume(store, made)
    studying.play(store, lambda cell, _: 1.0 + cell)
    over = studying.found(store, made)
    assert (over.state, over.problem) == (JobState.SUCCEEDED, None)


def test_one_job_of_a_study_can_be_cancelled_but_neither_resumed_nor_removed(store: Store) -> None:
    made = studying.study(store, cells=2, seeds=(0, 1), rungs=studying.RACE)
    lost = studying.jobs(store, made)[0, 1]
    with store.transaction() as session:
        Jobs(session).cancel(lost.id)
    with pytest.raises(Conflict, match=made.id), store.transaction() as session:
        Jobs(session).resume(lost.id)
    with pytest.raises(Conflict, match=made.id), store.transaction() as session:
        Jobs(session).remove(lost.id)
    studying.play(store, lambda cell, seed: 2.0 if cell == 0 else 1.0 + 10 * seed)
    assert studying.states(store, made) == ["succeeded", "cancelled", "cancelled", "cancelled"]
    assert studying.found(store, made).state is JobState.SUCCEEDED, "a seed less, and it won by the other"


def test_the_last_job_that_is_cancelled_by_hand_ends_its_study(store: Store) -> None:
    made = studying.study(store, cells=2)
    for job in studying.jobs(store, made).values():
        with store.transaction() as session:
            Jobs(session).cancel(job.id)
    assert studying.found(store, made).state is JobState.CANCELLED


def test_a_removed_study_takes_its_jobs_and_files_along_and_leaves_the_kept_model(store: Store) -> None:
    made = studying.study(store, cells=2, labels={"team": "a"})
    other = given.job(store)
    with pytest.raises(Conflict, match="queued"), store.transaction() as session:
        Studies(session).remove(made.id)
    rows = studying.jobs(store, made)
    for job in studying.claims(store):
        if job.study_id:
            studying.finish(store, job, 1.0 + studying.place(job)["cell"])
    with store.transaction() as session:
        Studies(session).remove(made.id)
    with store.session() as session:
        with pytest.raises(NotFound):
            Studies(session).get(made.id)
        assert session.scalars(select(JobRow.id)).all() == [other.id]
        assert set(session.scalars(select(EventRow.job_id))) == {other.id}
        assert session.scalars(select(LabelRow).where(LabelRow.subject == made.id)).all() == []
        assert Models(session).resolve("faces").job_id == rows[0, 0].id
        assert set(Removals(session).waiting()) == {
            f"jobs/{rows[0, 0].id}",
            f"jobs/{rows[1, 0].id}",
            f"models/{rows[1, 0].id}",
        }


def test_a_removed_study_that_was_cancelled_leaves_no_model_files(store: Store) -> None:
    made = studying.study(store, cells=2)
    done = given.claim(store)
    studying.finish(store, done, 1.0)
    studying.cancel(store, made)
    with store.transaction() as session:
        Studies(session).remove(made.id)
        assert f"models/{done.id}" in Removals(session).waiting()
