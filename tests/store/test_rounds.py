"""How a study moves on: who waits at a rung, who goes on, whose model is kept."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from store import Caretaker, EventLog, JobRow, Jobs, JobState, Models, Store, Studies
from store.models import Promote
from store.removals import Removals
from store.tables import StudyRow
from tests.store import given, studying

# What is decided in Python alone needs but one of the databases.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def _told(store: Store, job: JobRow) -> list[tuple[str, dict[str, Any]]]:
    with store.session() as session:
        return [(event.type, event.data) for event in EventLog(session).read(job.id)]


def test_a_paused_job_waits_for_the_others_and_nobody_takes_it(store: Store) -> None:
    made = studying.study(store, cells=2, rungs=studying.RACE)
    job = given.claim(store)
    studying.pause(store, job, 3.0)
    waiting = given.found(store, job.id)
    assert (waiting.state, waiting.held, waiting.attempts, waiting.worker) == ("queued", True, 1, None)
    assert (waiting.lease_until, waiting.metrics) == (None, {"error": 3.0})
    assert _told(store, job)[-1] == (
        "state",
        {"state": "queued", "reason": "waits for the others at rung 1"},
    )
    plain = given.job(store)
    assert {row.id for row in studying.claims(store)} == {studying.jobs(store, made)[1, 0].id, plain.id}
    with store.transaction() as session:
        assert Jobs(session).overdue(-1000) == []
    with store.session() as session:
        assert Jobs(session).position(given.found(store, plain.id)) == 1


def test_the_last_to_come_decides_the_rung(store: Store) -> None:
    made = studying.study(store, cells=3, rungs=studying.RACE)
    jobs = studying.claims(store)
    for job, error in zip(jobs, [3.0, 1.0, 2.0], strict=True):
        assert studying.found(store, made).rung == 1
        studying.pause(store, job, error)
    assert studying.found(store, made).rung == 2
    assert studying.states(store, made) == ["cancelled", "queued", "queued"]
    out, on = given.found(store, jobs[0].id), given.found(store, jobs[1].id)
    assert (studying.place(out)["raced_out"], studying.place(out)["rung"], out.held) == (True, 1, False)
    assert _told(store, out)[-2] == ("state", {"state": "cancelled", "reason": "raced out at rung 1"})
    assert _told(store, out)[-1][0] == "done"
    assert (studying.place(on)["rung"], studying.place(on)["pause_epochs"]) == (2, 6)
    assert _told(store, on)[-1] == ("log", {"message": "goes on to rung 2 of 3"})
    assert {job.attempts for job in [out, *studying.claims(store)]} == {1}
    with store.session() as session:
        assert list(Removals(session).waiting()) == [f"jobs/{out.id}/checkpoints"]


@on_sqlite
def test_a_race_of_24_cells_costs_under_a_third_of_the_grid(store: Store) -> None:
    rungs = ({"epochs": 2, "keep": 8}, {"epochs": 6, "keep": 3}, {"epochs": 18, "keep": None})
    made = studying.study(store, cells=24, rungs=rungs)
    studying.play(store, lambda cell, _: float(abs(cell - 17)))
    ran = [studying.place(job)["rung"] for job in studying.jobs(store, made).values()]
    epochs = sum((2, 6, 18)[rung - 1] for rung in ran)
    assert epochs < 24 * 18 / 3
    best = [cell for (cell, _), job in studying.jobs(store, made).items() if job.state == "succeeded"]
    assert sorted(best) == [16, 17, 18]


@on_sqlite
@pytest.mark.parametrize("order", range(3))
def test_the_outcome_does_not_depend_on_who_comes_first(order: int, store: Store) -> None:
    made = studying.study(store, cells=5, seeds=(0, 1), rungs=studying.RACE)
    errors = {0: 5.0, 1: 2.0, 2: math.inf, 3: 2.0, 4: 1.5}
    shuffle = random.Random(order)
    studying.play(
        store,
        lambda cell, seed: errors[cell] + 0.1 * seed,
        order=lambda _: shuffle.random(),
    )
    assert studying.states(store, made) == [
        *["cancelled", "cancelled"],
        *["cancelled", "cancelled"],
        *["failed", "failed"],
        *["cancelled", "cancelled"],
        *["succeeded", "succeeded"],
    ]
    rungs = {cell: studying.place(job)["rung"] for (cell, _), job in studying.jobs(store, made).items()}
    assert rungs == {0: 1, 1: 2, 2: 1, 3: 1, 4: 3}
    out = {
        cell for (cell, _), job in studying.jobs(store, made).items() if "raced_out" in studying.place(job)
    }
    assert out == {0, 1, 2, 3}


@on_sqlite
def test_a_training_that_ended_early_races_with_the_error_that_it_ended_with(store: Store) -> None:
    made = studying.study(store, cells=3, rungs=studying.RACE)
    early, *others = studying.claims(store)
    studying.finish(store, early, 1.0)
    for job in others:
        studying.pause(store, job, 2.0)
    assert studying.states(store, made) == ["succeeded", "queued", "cancelled"]
    studying.pause(store, given.claim(store), 1.5)
    over = studying.found(store, made)
    assert over.state is JobState.SUCCEEDED, "the one that went on was raced out, and nobody is left"
    assert studying.states(store, made) == ["succeeded", "cancelled", "cancelled"]
    assert "raced_out" not in studying.place(given.found(store, early.id))


@on_sqlite
def test_a_loser_that_had_ended_early_is_marked_and_its_files_go(store: Store) -> None:
    made = studying.study(store, cells=3, rungs=studying.RACE)
    early, *others = studying.claims(store)
    studying.finish(store, early, 9.0)
    for job in others:
        studying.pause(store, job, 2.0)
    loser = given.found(store, early.id)
    assert (loser.state, studying.place(loser)["raced_out"]) == (JobState.SUCCEEDED, True)
    studying.play(store, lambda *_: 1.0)
    assert studying.found(store, made).state is JobState.SUCCEEDED
    with store.session() as session:
        assert f"models/{early.id}" in Removals(session).waiting()
        assert [version for _, version in Models(session).every()] == [1]


def _held_out(cell: int, seed: int) -> float:
    return [2.0, 1.0, 3.0][cell] + 0.1 * ((seed + 1) % 2)


def test_the_best_job_of_the_best_cell_keeps_its_model_and_the_files_of_the_others_go(store: Store) -> None:
    made = studying.study(store, cells=3, seeds=(0, 1))
    studying.play(store, _held_out)
    jobs = studying.jobs(store, made)
    with store.session() as session:
        model = Models(session).resolve("faces")
        assert (model.version, model.job_id, model.error, model.weights_sha256) == (
            1,
            jobs[1, 1].id,
            1.0,
            "ab",
        )
        assert model.labels == {"team": "a"}
        gone = {f"models/{job.id}" for place, job in jobs.items() if place != (1, 1)}
        assert set(Removals(session).waiting()) == gone
    assert jobs[1, 1].model_version == 1
    assert all(job.manifest is None for job in jobs.values())


KEPT: list[tuple[str, Promote, float, int]] = [
    ("winner", "always", 9.0, 2),
    ("winner", "if_better", 0.5, 1),
    ("winner", "never", 9.0, 1),
    ("all", "always", 0.5, 2),
    ("all", "if_better", 9.0, 2),
    ("all", "if_better", 0.5, 1),
    ("all", "never", 9.0, 1),
]


@on_sqlite
@pytest.mark.parametrize(("keep", "promote", "before", "current"), KEPT)
def test_the_winner_is_promoted_as_its_base_says(
    keep: str, promote: Promote, before: float, current: int, store: Store
) -> None:
    with store.transaction() as session:
        Models(session).register(name="faces", job_id=None, dataset_id=None, manifest={}, error=before)
    made = studying.study(store, cells=1, keep=keep, promote=promote)
    job = given.claim(store)
    if keep == "all":
        _register(store, job, 1.0)
    else:
        studying.finish(store, job, 1.0)
    assert studying.found(store, made).state is JobState.SUCCEEDED
    with store.session() as session:
        assert Models(session).resolve("faces").version == current


def _register(store: Store, job: JobRow, error: float) -> None:
    with store.transaction() as session:
        jobs = Jobs(session)
        jobs.hold_study(job.id)
        model = Models(session).register(
            name="faces", job_id=job.id, dataset_id=None, manifest={}, promote="never", error=error
        )
        facts = {"metrics": {"error": error}, "model_version": model.version}
        jobs.finish(job.id, job.token, JobState.SUCCEEDED, **facts)  # type: ignore[arg-type]


@on_sqlite
def test_where_all_models_are_kept_the_winner_is_the_one_that_the_name_means(store: Store) -> None:
    made = studying.study(store, cells=3, keep="all")
    for job in studying.claims(store):
        _register(store, job, _held_out(studying.place(job)["cell"], 1))
    assert studying.found(store, made).state is JobState.SUCCEEDED
    with store.session() as session:
        assert Models(session).resolve("faces").version == 2
        assert len(Models(session).every()) == 3
        assert list(Removals(session).waiting()) == []


@on_sqlite
def test_where_no_model_is_kept_none_is_registered(store: Store) -> None:
    made = studying.study(store, cells=2, keep="none")
    for job in studying.claims(store):
        studying.finish(store, job, 1.0, manifest=False)
    assert studying.found(store, made).state is JobState.SUCCEEDED
    with store.session() as session:
        assert Models(session).every() == []


@on_sqlite
def test_a_job_without_a_study_has_nothing_to_wait_for(store: Store) -> None:
    job = given.running(store)
    with pytest.raises(ValueError, match="no study"), store.transaction() as session:
        Jobs(session).pause(job.id, job.token)
    assert given.found(store, job.id).state is JobState.RUNNING


@on_sqlite
def test_a_job_that_is_to_be_cancelled_ends_at_its_rung(store: Store) -> None:
    made = studying.study(store, cells=2, rungs=studying.RACE)
    one, two = studying.claims(store)
    with store.transaction() as session:
        Jobs(session).cancel(one.id)
    studying.pause(store, one, 1.0)
    studying.pause(store, two, 2.0)
    assert studying.states(store, made) == ["cancelled", "queued"]
    assert "raced_out" in studying.place(given.found(store, one.id)), "its cell has no seed left"


def test_a_job_that_was_lost_too_often_counts_as_failed(store: Store) -> None:
    made = studying.study(store, cells=2, rungs=studying.RACE)
    for job in studying.claims(store):
        if studying.place(job)["cell"] == 1:
            studying.pause(store, job, 2.0)
        else:
            _lose(store, job)
    for _ in range(2):
        _lose(store, given.claim(store))
    assert studying.states(store, made) == ["failed", "queued"]
    assert studying.found(store, made).rung == 2


def _lose(store: Store, job: JobRow) -> None:
    with store.transaction() as session:
        Jobs(session).beat(job.id, job.token, -1)
    with store.transaction() as session:
        assert [row.id for row in Jobs(session).reap()] == [job.id]


def test_a_lost_job_goes_back_to_the_queue_and_not_into_the_wait(store: Store) -> None:
    made = studying.study(store, cells=2, rungs=studying.RACE)
    studying.pause(store, given.claim(store), 1.0)
    _lose(store, given.claim(store))
    assert studying.states(store, made) == ["held", "queued"]
    assert studying.found(store, made).rung == 1


BEHIND: dict[str, Callable[[StudyRow], dict[str, Any]]] = {
    "that did not see its first job begin": lambda _: {"state": JobState.QUEUED, "started_at": None},
    "that did not see its last job end": lambda _: {"state": JobState.RUNNING, "finished_at": None},
}


@pytest.mark.parametrize("behind", BEHIND)
def test_the_caretaker_moves_a_study_on(behind: str, store: Store) -> None:
    made = studying.study(store, cells=1)
    if "last" in behind:
        studying.play(store, lambda *_: 1.0)
    else:
        given.claim(store)
    before = studying.found(store, made)
    with store.session() as session:
        assert Studies(session).stalled() == []
    with store.transaction() as session:
        session.execute(update(StudyRow).where(StudyRow.id == made.id).values(**BEHIND[behind](before)))
    with store.session() as session:
        assert Studies(session).stalled() == [made.id]
    for _ in range(2):
        Caretaker(store).advance_studies()
    after = studying.found(store, made)
    assert (after.state, after.started_at is None) == (before.state, False)
    assert (after.finished_at is None) == (before.finished_at is None)
    assert after.revision == before.revision + 1


def test_a_study_that_waits_for_a_worker_is_left_alone(store: Store) -> None:
    made = studying.study(store, cells=2, rungs=studying.RACE)
    studying.pause(store, given.claim(store), 1.0)
    with store.session() as session:
        assert Studies(session).stalled() == []
    before = studying.found(store, made)
    studying.settle(store, made)
    assert studying.found(store, made).revision == before.revision
    assert studying.states(store, made) == ["held", "queued"]
