"""Studies that a test takes for granted, and workers that play their jobs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from store import DatasetRow, JobRow, Jobs, JobState, Store, Studies, StudyRow
from store.rounds import Rounds
from tests.store import given

RACE = ({"epochs": 2, "keep": 2}, {"epochs": 6, "keep": 1}, {"epochs": 18, "keep": None})
WHOLE = ({"epochs": 18, "keep": None},)


def plan(
    cells: int = 3,
    seeds: Sequence[int] = (0,),
    rungs: Sequence[Mapping[str, Any]] = WHOLE,
    shift: int = 0,
    promote: str = "always",
) -> dict[str, Any]:
    """A plan by epochs; in each cell `shift` of them are spent before the training."""
    made = [
        {
            "cell": {"init": f"init_{cell}"},
            "job": {
                "dataset": "digits",
                "init": {"name": f"init_{cell}"},
                "training": {"epochs": 18 - shift, "seed": 0},
                "promote": promote,
                "labels": {"team": "a"},
            },
            "pretraining": float(shift),
            "pauses": [
                None if rung["keep"] is None or rung["epochs"] is None else rung["epochs"] - shift
                for rung in rungs
            ],
        }
        for cell in range(cells)
    ]
    return {
        "cells": made,
        "skipped": [],
        "seeds": list(seeds),
        "budget": {"epochs": 18},
        "learning_rate": "fixed",
        "racing": len(rungs) > 1,
        "rungs": [{"seconds": None, **rung} for rung in rungs],
    }


def study(
    store: Store, data: DatasetRow | None = None, *, keep: str = "winner", labels: Any = None, **planned: Any
) -> StudyRow:
    data = data or given.dataset(store)
    with store.transaction() as session:
        return Studies(session).create(
            document={"keep_models": keep, "base": {"dataset": data.name}},
            plan=plan(**planned),
            dataset_id=data.id,
            dataset_name=data.name,
            model="faces",
            labels=labels or {},
            device="cpu",
        )


def found(store: Store, made: StudyRow) -> StudyRow:
    with store.session() as session:
        return Studies(session).get(made.id)


def jobs(store: Store, made: StudyRow) -> dict[tuple[int, int], JobRow]:
    """Its jobs by cell and seed."""
    with store.session() as session:
        rows = Jobs(session).page(study=made.id, limit=1000).items
    return {(place(row)["cell"], place(row)["seed"]): row for row in rows}


def place(job: JobRow) -> dict[str, Any]:
    assert job.study_place is not None
    return job.study_place


def states(store: Store, made: StudyRow) -> list[str]:
    """The states of its jobs in the order of cells and seeds, `held` being one."""
    rows = sorted(jobs(store, made).items())
    return ["held" if row.held and row.state == "queued" else row.state.value for _, row in rows]


def pause(store: Store, job: JobRow, error: float | None) -> JobRow:
    with store.transaction() as session:
        return Jobs(session).pause(job.id, job.token, metrics={"error": error})


def finish(store: Store, job: JobRow, error: float, *, manifest: bool = True) -> JobRow:
    with store.transaction() as session:
        return Jobs(session).finish(
            job.id,
            job.token,
            JobState.SUCCEEDED,
            ended="epochs",
            metrics={"error": error},
            manifest={"weights_sha256": "ab"} if manifest else None,
        )


def fail(store: Store, job: JobRow, detail: str = "it diverged") -> JobRow:
    with store.transaction() as session:
        return Jobs(session).finish(job.id, job.token, JobState.FAILED, problem={"detail": detail})


def claims(store: Store) -> list[JobRow]:
    """Every job that waits, claimed."""
    taken: list[JobRow] = []
    while True:
        with store.transaction() as session:
            job = Jobs(session).claim_next(worker="w1", devices=["cpu"], lease_seconds=60)
        if job is None:
            return taken
        taken.append(job)


def play(
    store: Store, errors: Callable[[int, int], float], order: Callable[[JobRow], Any] | None = None
) -> None:
    """Work until nothing waits: each job pauses where its place says so, and succeeds at the end.

    The jobs of a rung are claimed together and come to it in this order, by default that of their making.
    """
    while taken := claims(store):
        for job in sorted(taken, key=order) if order is not None else taken:
            error = errors(place(job)["cell"], place(job)["seed"])
            if not math.isfinite(error):
                fail(store, job)
            elif place(job)["pause_epochs"] is not None:
                pause(store, job, error)
            else:
                finish(store, job, error)


def cancel(store: Store, made: StudyRow) -> StudyRow:
    with store.transaction() as session:
        return Studies(session).cancel(made.id)


def resume(store: Store, made: StudyRow) -> StudyRow:
    with store.transaction() as session:
        return Studies(session).resume(made.id)


def settle(store: Store, made: StudyRow) -> None:
    with store.transaction() as session:
        rounds = Rounds(session)
        rounds.settle(rounds.hold(made.id))
