"""Rounds: what becomes of a study when one of its jobs has ended or paused.

No process drives a study. Whoever ends or pauses one of its jobs holds the study's row first, and moves it on
in the same transaction: a rung is decided, or the study ended, by the last job that it waited for. The order
of locks is the study's row, then those of its jobs, everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, and_, exists, false, or_, select
from sqlalchemy.orm import Session

from store import halving, hints, ids, moves
from store.database import now
from store.errors import NotFound
from store.events import EventLog
from store.lifecycle import JobState, check_move
from store.models import Models, Promote
from store.removals import Removals
from store.tables import JobRow, Json, StudyRow

#: A job that somebody works at, or may: what a study waits for.
UNSETTLED: ColumnElement[bool] = or_(
    JobRow.state == JobState.RUNNING, and_(JobRow.state == JobState.QUEUED, JobRow.held == false())
)
LIVE = (JobState.QUEUED, JobState.RUNNING)


def pauses(plan: Json, cell: int, rung: int) -> Json:
    """Where the trainings of a cell wait for the others on their way to a rung, counted from 1."""
    last = rung == len(plan["rungs"])
    return {
        "rung": rung,
        "pause_epochs": None if last else plan["cells"][cell]["pauses"][rung - 1],
        "pause_seconds": None if last else plan["rungs"][rung - 1].get("seconds"),
    }


def is_out(job: JobRow) -> bool:
    """Whether the job's cell has lost a race, whatever became of the job itself."""
    return bool((job.study_place or {}).get("raced_out"))


def errors_of(jobs: Iterable[JobRow]) -> dict[int, list[float]]:
    """The best held-out errors by cell: infinite where the training failed, none where it was cancelled."""
    errors: dict[int, list[float]] = {}
    for job in jobs:
        if job.state is JobState.CANCELLED or job.study_place is None:
            continue
        error = None if job.state is JobState.FAILED else job.metrics.get("error")
        errors.setdefault(job.study_place["cell"], []).append(math.inf if error is None else float(error))
    return errors


class Rounds:
    """The moves of studies."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def hold(self, study_id: str) -> StudyRow:
        """The study's row as it is now, held until the transaction ends, or `NotFound`."""
        rows = select(StudyRow).where(StudyRow.id == study_id)
        held = rows.with_for_update(key_share=True).execution_options(populate_existing=True)
        study = self.session.scalars(held).one_or_none() if ids.is_id(study_id, "study") else None
        if study is None:
            raise NotFound("study", study_id)
        return study

    def hold_of(self, job_id: str) -> StudyRow | None:
        """The held row of the study that a job belongs to; None where it belongs to none."""
        found = select(JobRow.study_id).where(JobRow.id == job_id)
        study_id = self.session.execute(found).scalar_one_or_none() if ids.is_id(job_id, "job") else None
        return None if study_id is None else self.hold(study_id)

    def hold_all(self, *conditions: ColumnElement[bool]) -> dict[str, StudyRow]:
        """The studies of these jobs, held in the order of their ids."""
        found = select(JobRow.study_id).where(JobRow.study_id.is_not(None), *conditions).distinct()
        rows = select(StudyRow).where(StudyRow.id.in_(self.session.scalars(found).all()))
        held = rows.order_by(StudyRow.id).with_for_update(key_share=True)
        studies = self.session.scalars(held.execution_options(populate_existing=True))
        return {study.id: study for study in studies}

    def begin(self, study_id: str) -> None:
        """Note that a job of a study was claimed.

        The claim holds the job's row by now, so it must not wait for the study's: where that is held, the
        caretaker notes it a moment later.
        """
        rows = select(StudyRow).where(StudyRow.id == study_id, StudyRow.state == JobState.QUEUED)
        free = rows.with_for_update(skip_locked=True, key_share=True)
        study = self.session.scalars(free.execution_options(populate_existing=True)).one_or_none()
        if study is not None:
            self._run(study)

    def settle(self, study: StudyRow) -> None:
        """Move a held study on as far as its jobs have come; nothing happens where it waits for one."""
        if study.state is JobState.QUEUED and self._any(study, JobRow.state == JobState.RUNNING):
            self._run(study)
        while not study.is_over and not self._any(study, UNSETTLED):
            jobs = self.jobs(study)
            alive = [job for job in jobs if not is_out(job)]
            if any(job.state is JobState.QUEUED for job in alive):
                self._decide(study, alive)
            else:
                self._conclude(study, jobs, alive)

    def jobs(self, study: StudyRow) -> list[JobRow]:
        """All jobs of a held study, held too, in the order of their making."""
        rows = select(JobRow).where(JobRow.study_id == study.id).order_by(JobRow.id)
        held = rows.with_for_update(key_share=True).execution_options(populate_existing=True)
        return list(self.session.scalars(held))

    def place(self, study: StudyRow, job: JobRow) -> None:
        """Send a job on its way to the study's rung."""
        assert job.study_place is not None
        job.study_place = {**job.study_place, **pauses(study.plan, job.study_place["cell"], study.rung)}

    def waits(self, study: StudyRow, job: JobRow) -> bool:
        """Whether a job has come to the study's rung, and not only to one that the others have left since."""
        return job.held and job.study_place is not None and job.study_place["rung"] == study.rung

    def touch(self, study: StudyRow) -> None:
        """Note that something changed that a client can see."""
        study.revision += 1
        study.updated_at = now(self.session)

    def _any(self, study: StudyRow, condition: ColumnElement[bool]) -> bool:
        found = select(exists().where(JobRow.study_id == study.id, condition))
        return bool(self.session.execute(found).scalar_one())

    def _run(self, study: StudyRow) -> None:
        check_move(study.state, JobState.RUNNING, kind="study")
        study.state = JobState.RUNNING
        study.started_at = study.started_at or now(self.session)
        self.touch(study)

    def _decide(self, study: StudyRow, jobs: list[JobRow]) -> None:
        """Every training has come to the rung: let the best cells go on, and end the others."""
        rung, rungs = study.rung, len(study.plan["rungs"])
        going_on = set(halving.survivors(errors_of(jobs), study.plan["rungs"][rung - 1].get("keep")))
        study.rung = min(rung + 1, rungs)
        staying = [job for job in jobs if job.study_place and job.study_place["cell"] in going_on]
        self._race_out([job for job in jobs if job not in staying], rung)
        self._release(study, [job for job in staying if job.state is JobState.QUEUED])
        self.touch(study)

    def _race_out(self, jobs: Sequence[JobRow], rung: int) -> None:
        moment = now(self.session)
        waiting = [job for job in jobs if job.state is JobState.QUEUED]
        for job in jobs:
            job.study_place = {**(job.study_place or {}), "raced_out": True}
            if job.state is not JobState.QUEUED:
                moves.touch(job, moment)
        for job in waiting:
            job.held, job.swept_at = False, moment
        Removals(self.session).ask_all([f"jobs/{job.id}/checkpoints" for job in waiting])
        moves.end(self.session, waiting, JobState.CANCELLED, reason=f"raced out at rung {rung}")

    def _release(self, study: StudyRow, jobs: Sequence[JobRow]) -> None:
        moment = now(self.session)
        for job in jobs:
            self.place(study, job)
            job.attempts -= 1  # the next claim goes on with this attempt: nothing went wrong
            job.held, job.hinted_at = False, moment
            moves.touch(job, moment)
        message = f"goes on to rung {study.rung} of {len(study.plan['rungs'])}"
        EventLog(self.session).append_all([(job, [("log", {"message": message})]) for job in jobs])
        hints.ask(self.session, study.device, len(jobs))

    def _conclude(self, study: StudyRow, jobs: list[JobRow], alive: list[JobRow]) -> None:
        """No training is left: say how the study ended, and settle whose model is kept."""
        states = [job.state for job in alive]
        if study.asked == "cancel":
            state = JobState.CANCELLED
        elif JobState.SUCCEEDED in states:
            state = JobState.SUCCEEDED
            self._keep_models(jobs, alive)
        elif JobState.FAILED in states:
            state = JobState.FAILED
            study.problem = _all_failed([job for job in alive if job.state is JobState.FAILED])
        else:
            state = JobState.CANCELLED
        if study.state is JobState.QUEUED and state is not JobState.CANCELLED:
            self._run(study)
        check_move(study.state, state, kind="study")
        study.state, study.asked = state, None
        study.finished_at = now(self.session)
        self.touch(study)

    def _keep_models(self, jobs: Sequence[JobRow], alive: list[JobRow]) -> None:
        """Register the winner's model, or promote it where all are kept; the files of the others go."""
        winner = _winner(alive)
        promote: Promote = winner.spec.get("promote") or "always"
        models = Models(self.session)
        if winner.manifest is not None:
            row = models.register(
                name=winner.model or winner.dataset_name,
                job_id=winner.id,
                dataset_id=winner.dataset_id,
                manifest=winner.manifest,
                labels=winner.labels,
                promote=promote,
                error=winner.metrics.get("error"),
            )
            winner.model_version, winner.manifest = row.version, None
            moves.touch(winner, now(self.session))
        elif winner.model is not None and winner.model_version is not None:
            models.offer(winner.model, winner.model_version, promote)
        self.discard(jobs)

    def discard(self, jobs: Sequence[JobRow]) -> None:
        """Let go of the model files of jobs that were never registered."""
        unneeded = [job for job in jobs if job.manifest is not None]
        Removals(self.session).ask_all([f"models/{job.id}" for job in unneeded])
        for job in unneeded:
            job.manifest = None


def _winner(jobs: Iterable[JobRow]) -> JobRow:
    """The best job, whose model there is, of the best cell that has one."""
    done = [job for job in jobs if job.state is JobState.SUCCEEDED]
    cells = {job.study_place["cell"] for job in done if job.study_place is not None}
    ranked = [cell for cell in halving.order(errors_of(jobs)) if cell in cells]
    best = ranked[0] if ranked else min(cells)
    mine = [job for job in done if job.study_place is not None and job.study_place["cell"] == best]
    return min(mine, key=lambda job: (_error(job.metrics), job.id))


def _error(metrics: Mapping[str, object]) -> float:
    error = metrics.get("error")
    return float(error) if isinstance(error, int | float) else math.inf


def _all_failed(jobs: list[JobRow]) -> Json:
    first = (jobs[0].problem or {}).get("detail", "no reason was noted")
    return {
        "type": "every-training-failed",
        "title": "Every training failed",
        "detail": f"{len(jobs)} of its trainings failed and none succeeded; the first of them: {first}",
    }
