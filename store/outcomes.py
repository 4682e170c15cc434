"""Outcomes: what the jobs of a study show, gathered from their rows and events for its view and report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from store import halving, rounds
from store.lifecycle import JobState
from store.tables import EventRow, JobRow, Json, StudyRow

_TOLD = ("epoch", "init", "diagnosis")
# What is settled by trial tells of it as an initialisation does, under these words.
_INIT, _RATE = "auto", "learning_rate"
_POINT = ("epoch", "step", "error", "loss", "seconds")
_JOBS_AT_ONCE = 100


def gather(session: Session, study_id: str) -> list[Json]:
    """One outcome a job, by cell and then by the order of the seeds.

    Of each: `job`, `cell`, `seed`, `state`, `rung` (the last that it was on its way to), `raced_out`, `error`
    (the best held-out one; null where the training failed), `ended`, `problem`, `model`, `baselines`, `curve`
    (its epochs, each once), `init_seconds`, `seconds`, `diagnosis`, `init` (the last event of that type),
    `learning_rate` and `chosen` (where they were settled by trial), `pretraining` (how often an init that was
    chosen passes over the rows), `attempts`. Nothing of it but the seconds and the attempts depends on how
    often a job was interrupted.
    """
    rows = select(JobRow).where(JobRow.study_id == study_id).order_by(JobRow.id)
    jobs = session.scalars(rows.options(defer(JobRow.spec))).all()
    found: list[Json] = []
    for start in range(0, len(jobs), _JOBS_AT_ONCE):
        some = jobs[start : start + _JOBS_AT_ONCE]
        told = _told(session, [job.id for job in some])
        found += [_outcome(job, told.get(job.id, [])) for job in some]
    return sorted(found, key=lambda outcome: int(outcome["cell"]))


def progress(study: StudyRow, jobs: Sequence[JobRow]) -> Json:
    """How far a study is, by the last that its jobs told: without news the answer, and its ETag, stay.

    `epoch` of `epochs` counts those of all jobs, as many as the race will leave them (null where the budget
    is in seconds); `rung` of `rungs` counts from 1; `seconds_left` is a guess by the pace so far, null where
    there is none yet.
    """
    done = sum(_epoch(job) for job in jobs)
    left = None if study.plan["budget"].get("seconds") else _epochs_left(study, jobs)
    return {
        "epoch": done,
        "epochs": None if left is None else done + left,
        "jobs": len(jobs),
        "jobs_over": sum(job.is_over for job in jobs),
        "jobs_running": sum(job.state is JobState.RUNNING for job in jobs),
        "rung": study.rung,
        "rungs": len(study.plan["rungs"]),
        "seconds_left": _seconds_left(study, jobs, done, left),
    }


def best(study: StudyRow, jobs: Sequence[JobRow]) -> Json | None:
    """The best cell among those that have an error of every seed, and its mean."""
    errors = {
        cell: known
        for cell, known in rounds.errors_of(jobs).items()
        if all(math.isfinite(error) for error in known)
    }
    ranked = halving.order(errors)
    if not ranked:
        return None
    known = errors[ranked[0]]
    return {"cell": study.plan["cells"][ranked[0]]["cell"], "error": math.fsum(known) / len(known)}


def _told(session: Session, jobs: Sequence[str]) -> dict[str, list[tuple[str, Json]]]:
    events = (
        select(EventRow.job_id, EventRow.type, EventRow.data)
        .where(EventRow.job_id.in_(jobs), EventRow.type.in_(_TOLD))
        .order_by(EventRow.job_id, EventRow.number)
    )
    told: dict[str, list[tuple[str, Json]]] = {}
    for job, kind, data in session.execute(events):
        told.setdefault(job, []).append((kind, data))
    return told


def _outcome(job: JobRow, told: Sequence[tuple[str, Json]]) -> Json:
    place = job.study_place or {}
    curve = _curve(data for kind, data in told if kind == "epoch")
    inits = [data for kind, data in told if kind == "init"]
    own = [data for data in inits if data.get("word") not in (_INIT, _RATE)]
    looks = [data.get("diagnosis") for kind, data in told if kind == "diagnosis"]
    model = None if job.model_version is None else {"name": job.model, "version": job.model_version}
    return {
        "job": job.id,
        "cell": place.get("cell", 0),
        "seed": place.get("seed", 0),
        "state": job.state.value,
        "rung": place.get("rung", 1),
        "raced_out": rounds.is_out(job),
        "error": None if job.state is JobState.FAILED else job.metrics.get("error"),
        "ended": job.ended,
        "problem": job.problem,
        "model": model,
        "baselines": job.baselines,
        "curve": curve,
        "init_seconds": job.metrics.get("init_seconds"),
        "seconds": curve[-1]["seconds"] if curve else None,
        "diagnosis": looks[-1] if looks else None,
        "init": own[-1] if own else None,
        "learning_rate": _chosen(inits, _RATE),
        "chosen": _chosen(inits, _INIT),
        "pretraining": job.metrics.get("pretraining"),
        "attempts": job.attempts,
    }


def _curve(epochs: Iterable[Json]) -> list[Json]:
    """Each epoch once: what was trained again after a resume is told twice."""
    points = {data["epoch"]: {name: data.get(name) for name in _POINT} for data in epochs}
    return [points[epoch] for epoch in sorted(points)]


def _chosen(inits: Sequence[Json], word: str) -> Any:
    """What was settled under a word, by the last event that says so."""
    told = [data.get("detail") or {} for data in inits if data.get("word") == word]
    return next((detail["chosen"] for detail in reversed(told) if "chosen" in detail), None)


def _epoch(job: JobRow) -> int:
    return int(job.progress.get("epoch") or 0)


def _epochs_left(study: StudyRow, jobs: Sequence[JobRow]) -> int:
    """The epochs to this rung of the jobs that are under way, and those of the rungs behind it."""
    alive = [job for job in jobs if not job.is_over]
    if study.is_over or not alive:
        return 0
    under_way = sum(max(0, _target(job) - _epoch(job)) for job in alive)
    return under_way + int(_budget(study, "epochs", after=study.rung))


def _target(job: JobRow) -> int:
    """The epoch at which a job waits or ends: what a chosen pretraining took of its plan is gone."""
    place = job.study_place or {}
    pause = place.get("pause_epochs")
    if pause is None:
        return int(job.progress.get("epochs") or 0)
    return max(int(place["rung"]), int(pause) - math.ceil(job.metrics.get("pretraining") or 0.0))


def _seconds_left(study: StudyRow, jobs: Sequence[JobRow], done: int, left: int | None) -> float | None:
    if study.is_over:
        return 0.0
    if study.started_at is None:
        return None
    passed = (max(job.updated_at for job in jobs) - study.started_at).total_seconds()
    if left is None:
        running = max(1, sum(job.state is JobState.RUNNING for job in jobs))
        return round(max(0.0, _budget(study, "seconds", after=0) / running - passed), 1)
    return round(passed * left / done, 1) if done else None


def _budget(study: StudyRow, unit: str, *, after: int) -> float:
    """What the rungs behind one cost all cells that come to them, by plan."""
    rungs: list[dict[str, Any]] = [{}, *study.plan["rungs"]]
    cost, cells = 0.0, len(study.plan["cells"])
    for number, (before, line) in enumerate(pairwise(rungs)):
        cells = min(cells, before.get("keep") or cells)
        if number >= after:
            cost += cells * len(study.plan["seeds"]) * (line[unit] - before.get(unit, 0))
    return cost
