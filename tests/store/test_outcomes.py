"""What a study's jobs show: gathered from rows and events, for its view and its report."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, update

from store import JobRow, Jobs, Store, Studies
from store.database import now
from store.tables import StudyRow
from tests.store import given, studying


def _epoch(epoch: int, error: float, seconds: float) -> tuple[str, dict[str, Any]]:
    facts = {"epoch": epoch, "step": 7 * epoch, "error": error, "loss": 2 * error, "seconds": seconds}
    return "epoch", {**facts, "train_loss": 9.0, "best": True}


def _record(store: Store, job: JobRow, *events: tuple[str, dict[str, Any]], **more: Any) -> None:
    with store.transaction() as session:
        Jobs(session).record(job.id, job.token, events=events, **more)


def test_an_outcome_holds_what_a_report_needs_and_each_epoch_once(store: Store) -> None:
    made = studying.study(store, cells=2)
    job, other = studying.claims(store)
    _record(
        store,
        job,
        ("init", {"word": "auto", "detail": {"looks": "good"}}),
        ("init", {"word": "auto", "detail": {"chosen": {"name": "pca"}}}),
        ("init", {"word": "learning_rate", "detail": {"chosen": 0.003}}),
        ("init", {"word": "pca", "part": "weights", "seconds": 0.1, "detail": {}}),
        ("diagnosis", {"diagnosis": {"verdict": {"outlook": "learns"}}}),
        ("step", {"step": 3}),
        _epoch(1, 5.0, 1.0),
        _epoch(2, 3.0, 2.0),
        _epoch(2, 3.0, 2.5),  # trained again by the next worker
        _epoch(3, 4.0, 3.5),
        baselines={"mean": 9.0, "pca": 2.0},
        metrics={"init_seconds": 0.25},
    )
    studying.finish(store, job, 3.0)
    _record(store, other, _epoch(1, 8.0, 1.0), metrics={"error": 8.0})
    studying.fail(store, other, "it diverged")
    with store.session() as session:
        first, second = Studies(session).outcomes(made.id)
    assert first == {
        "job": job.id,
        "cell": 0,
        "seed": 0,
        "state": "succeeded",
        "rung": 1,
        "raced_out": False,
        "error": 3.0,
        "ended": "epochs",
        "problem": None,
        "model": {"name": "faces", "version": 1},
        "baselines": {"mean": 9.0, "pca": 2.0},
        "curve": [
            {"epoch": 1, "step": 7, "error": 5.0, "loss": 10.0, "seconds": 1.0},
            {"epoch": 2, "step": 14, "error": 3.0, "loss": 6.0, "seconds": 2.5},
            {"epoch": 3, "step": 21, "error": 4.0, "loss": 8.0, "seconds": 3.5},
        ],
        "init_seconds": 0.25,
        "seconds": 3.5,
        "diagnosis": {"verdict": {"outlook": "learns"}},
        "init": {"word": "pca", "part": "weights", "seconds": 0.1, "detail": {}},
        "learning_rate": 0.003,
        "chosen": {"name": "pca"},
        "pretraining": None,
        "attempts": 1,
    }
    assert (second["state"], second["error"], second["model"]) == ("failed", None, None)
    assert second["problem"] == {"detail": "it diverged"}
    assert (second["init"], second["diagnosis"], second["chosen"]) == (None, None, None)


def test_outcomes_come_by_cell_and_then_by_seed(store: Store) -> None:
    made = studying.study(store, cells=2, seeds=(4, 1))
    with store.session() as session:
        outcomes = Studies(session).outcomes(made.id)
    assert [(outcome["cell"], outcome["seed"]) for outcome in outcomes] == [(0, 4), (0, 1), (1, 4), (1, 1)]
    assert {outcome["state"] for outcome in outcomes} == {"queued"}
    assert outcomes[0]["curve"] == []


def _progress(store: Store, made: Any) -> dict[str, Any]:
    with store.session() as session:
        return Studies(session).standings([Studies(session).get(made.id)])[0][0]


def test_standings_of_many_studies_are_each_study_s_own_and_take_one_query(store: Store) -> None:
    made = [studying.study(store, cells=cells, rungs=studying.RACE) for cells in (4, 2, 3)]
    studying.cancel(store, made[1])
    alone = [_progress(store, study) for study in made]
    assert len({str(progress) for progress in alone}) == 3
    with store.session() as session:
        studies = [Studies(session).get(study.id) for study in made]
        asked = list[str]()
        event.listen(session.get_bind(), "before_cursor_execute", lambda *given: asked.append(given[2]))
        found = Studies(session).standings(studies)
    assert [progress for progress, _ in found] == alone
    assert len(asked) == 1


def test_progress_counts_the_epochs_that_the_race_will_leave(store: Store) -> None:
    made = studying.study(store, cells=4, rungs=studying.RACE)
    # Four cells to 2 epochs, two on to 6, one on to 18.
    assert _progress(store, made) == {
        "epoch": 0,
        "epochs": 4 * 2 + 2 * 4 + 12,
        "jobs": 4,
        "jobs_over": 0,
        "jobs_running": 0,
        "rung": 1,
        "rungs": 3,
        "seconds_left": None,
    }
    jobs = studying.claims(store)
    _record(store, jobs[0], progress={"epoch": 1})
    under_way = _progress(store, made)
    assert (under_way["epoch"], under_way["epochs"], under_way["jobs_running"]) == (1, 28, 4)
    assert under_way["seconds_left"] >= 0
    for job in jobs:
        _record(store, job, progress={"epoch": 2})
        studying.pause(store, job, float(studying.place(job)["cell"]))
    halved = _progress(store, made)
    assert (halved["epoch"], halved["epochs"], halved["jobs_over"], halved["rung"]) == (8, 28, 2, 2)
    early, other = studying.claims(store)
    studying.finish(store, early, 0.5)  # stopped early: it will train no more
    _record(store, other, progress={"epoch": 6})
    studying.pause(store, other, 0.9)
    over = _progress(store, made)
    assert (over["epoch"], over["epochs"], over["jobs_over"], over["seconds_left"]) == (12, 12, 4, 0.0)


def test_progress_knows_that_a_chosen_pretraining_took_some_of_the_epochs(store: Store) -> None:
    made = studying.study(store, cells=4, rungs=studying.RACE)
    for place, job in enumerate(studying.claims(store)):
        _record(store, job, metrics={"pretraining": 0.5} if place else {"pretraining": 9.0})
    # One epoch to the first rung for each of those that pretrained: the rest of it is spent.
    assert _progress(store, made)["epochs"] == 4 * 1 + 2 * 4 + 12
    with store.session() as session:
        told = [outcome["pretraining"] for outcome in Studies(session).outcomes(made.id)]
    assert sorted(told) == [0.5, 0.5, 0.5, 9.0]


def test_what_is_left_follows_from_the_rows_alone(store: Store) -> None:
    made = studying.study(store, cells=2)
    job, _ = studying.claims(store)
    _record(store, job, progress={"epoch": 12})
    with store.transaction() as session:
        begun = now(session) - timedelta(hours=1)
        session.execute(update(StudyRow).values(started_at=begun))
        session.execute(update(JobRow).values(updated_at=begun + timedelta(seconds=24)))
    # 12 of 36 epochs in the 24 seconds to the last news: nothing else has changed since, nor has the answer.
    assert _progress(store, made)["seconds_left"] == 48.0


def test_progress_by_time_says_how_many_seconds_are_left(store: Store) -> None:
    rungs = ({"seconds": 10.0, "epochs": None, "keep": 1}, {"seconds": 30.0, "epochs": None, "keep": None})
    planned = {**studying.plan(cells=3, rungs=rungs), "budget": {"seconds": 30.0}}
    data = given.dataset(store)
    with store.transaction() as session:
        made = Studies(session).create(
            document={},
            plan=planned,
            dataset_id=data.id,
            dataset_name=data.name,
            model=None,
            labels={},
            device="cpu",
        )
    job = given.claim(store)
    assert (studying.place(job)["pause_seconds"], studying.place(job)["pause_epochs"]) == (10.0, None)
    assert studying.place(job)["budget_seconds"] == 30.0
    told = _progress(store, made)
    assert told["epochs"] is None
    assert told["seconds_left"] == pytest.approx(3 * 10 + 20, abs=5)


def test_the_best_so_far_is_a_cell_that_is_in_the_race_and_has_all_its_seeds(store: Store) -> None:
    made = studying.study(store, cells=3, seeds=(0, 1), rungs=studying.RACE)

    def best() -> dict[str, Any] | None:
        with store.session() as session:
            return Studies(session).standings([Studies(session).get(made.id)])[0][1]

    assert best() is None
    jobs = {(studying.place(job)["cell"], studying.place(job)["seed"]): job for job in studying.claims(store)}
    studying.pause(store, jobs[1, 0], 1.0)
    assert best() is None, "one of its seeds has shown nothing yet"
    _record(store, jobs[1, 1], metrics={"error": 2.0})
    assert best() == {"cell": {"init": "init_1"}, "error": 1.5}
    studying.pause(store, jobs[2, 0], 1.0)
    studying.fail(store, jobs[2, 1])
    assert best() == {"cell": {"init": "init_1"}, "error": 1.5}
    for place in ((0, 0), (0, 1)):
        studying.pause(store, jobs[place], 1.2)
    studying.pause(store, jobs[1, 1], 2.0)
    assert best() == {"cell": {"init": "init_0"}, "error": 1.2}
