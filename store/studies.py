"""Studies: a grid of trainings as jobs on the queue: create, find, list, cancel, resume, remove.

A study's *plan*, made once where it was submitted, holds its cells (each a whole job), seeds and rungs. Every
cell and seed is one job, which pauses at each rung and goes on from its checkpoint if its cell survives; its
`study_place` says where: {"cell": place in the plan, "values": the cell as submitted, "seed", "rung": counted
from 1, "pause_epochs", "pause_seconds": where it waits, "budget_seconds", "learning_rate", "keep": whose
models are kept, "raced_out": true where its cell lost}. How a study moves on is told in `store.rounds`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session, defer

from store import hints, ids, outcomes, pages, rounds
from store import labels as label_rows
from store.database import now
from store.datasets import made_from
from store.errors import Conflict, IllegalMove, NotFound
from store.jobs import Jobs
from store.lifecycle import JobState, check_move
from store.models import RESERVED_NAMES
from store.pages import Page
from store.rounds import Rounds
from store.tables import JobRow, Json, StudyRow


class Studies:
    """Everything that happens to studies."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def create(
        self,
        *,
        document: Mapping[str, object],
        plan: Json,
        dataset_id: str,
        dataset_name: str,
        model: str | None,
        labels: Mapping[str, str],
        device: str,
        owner: str | None = None,
        request_id: str | None = None,
    ) -> StudyRow:
        """Put all jobs of a study on the queue; workers are told once the transaction is committed.

        `NotFound` where its dataset, or a model that one of its cells needs, is gone.
        """
        if model is not None:
            ids.check_name("model's name", model, reserved=RESERVED_NAMES)
        moment = now(self.session)
        study = StudyRow(
            id=ids.new("study"),
            state=JobState.QUEUED,
            dataset_id=dataset_id,
            dataset_name=dataset_name,
            document=dict(document),
            plan=plan,
            model=model,
            labels=label_rows.check(labels),
            device=device,
            owner=owner,
            rung=1,
            request_id=None if request_id is None else request_id[:200],
            created_at=moment,
            updated_at=moment,
        )
        self.session.add(study)
        self.session.flush()
        label_rows.write(self.session, study.id, study.labels)
        # Seed by seed, so that every cell has been seen once before the first is seen twice.
        jobs = [_job(study, cell, seed) for seed in plan["seeds"] for cell in range(len(plan["cells"]))]
        Jobs(self.session).enqueue(jobs)
        hints.ask(self.session, device, len(jobs))
        return study

    def get(self, study_id: str) -> StudyRow:
        """The study, or `NotFound`."""
        study = self.session.get(StudyRow, study_id) if ids.is_id(study_id, "study") else None
        if study is None:
            raise NotFound("study", study_id)
        return study

    def page(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        state: JobState | str | None = None,
        dataset: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Page[StudyRow]:
        """Studies, newest first; a dataset is given by id or by name."""
        rows = select(StudyRow)
        if state is not None:
            rows = rows.where(StudyRow.state == JobState(state))
        if dataset is not None:
            rows = rows.where(made_from(StudyRow, dataset))
        rows = rows.where(*label_rows.matching(StudyRow.id, labels or {}))
        return pages.fetch(self.session, rows, StudyRow.id, limit=limit, after=after)

    def advance(self, study_id: str) -> StudyRow:
        """Move a study on as far as its jobs have come; as often as anybody likes."""
        study = Rounds(self.session).hold(study_id)
        Rounds(self.session).settle(study)
        return study

    def stalled(self, limit: int = 100) -> list[str]:
        """The studies that `advance` would move: a look that takes no lock."""
        mine = JobRow.study_id == StudyRow.id
        waits = exists().where(mine, rounds.UNSETTLED)
        begun = exists().where(mine, JobRow.state == JobState.RUNNING)
        rows = select(StudyRow.id).where(
            StudyRow.state.in_(rounds.LIVE),
            or_(~waits, (StudyRow.state == JobState.QUEUED) & begun),
        )
        return list(self.session.scalars(rows.order_by(StudyRow.id).limit(limit)))

    def cancel(self, study_id: str) -> StudyRow:
        """End a study and publish nothing: what waits ends now, what runs once its worker has ended it."""
        study = Rounds(self.session).hold(study_id)
        check_move(study.state, JobState.CANCELLED, kind="study")
        study.asked = "cancel"
        jobs = Jobs(self.session)
        jobs.end_or_ask([job for job in Rounds(self.session).jobs(study) if not job.is_over])
        Rounds(self.session).touch(study)
        Rounds(self.session).settle(study)
        return study

    def resume(self, study_id: str) -> StudyRow:
        """Have a failed or cancelled study go on: each of its jobs from its last checkpoint.

        What had succeeded, or was raced out, stays as it is.
        """
        moves = Rounds(self.session)
        study = moves.hold(study_id)
        if study.state is JobState.RUNNING:  # the table lets it go back to the queue, but not by a client
            detail = "a running study needs no resume"
            raise IllegalMove(study.state.value, JobState.QUEUED.value, detail=detail)
        check_move(study.state, JobState.QUEUED, kind="study")
        jobs = Jobs(self.session)
        jobs.need_dataset_of(study.id, study.dataset_id, study.dataset_name)
        study.state = JobState.QUEUED
        study.problem = study.finished_at = study.asked = None
        again = [job for job in moves.jobs(study) if _goes_on(job)]
        jobs.reopen(again)
        for job in again:
            if not moves.waits(study, job):
                job.held = False
                moves.place(study, job)
            job.hinted_at = job.updated_at
        hints.ask(self.session, study.device, len(again))
        moves.touch(study)
        moves.settle(study)
        return study

    def remove(self, study_id: str) -> StudyRow:
        """Remove a study that is over with its jobs, their events and, soon, files; kept models stay."""
        moves = Rounds(self.session)
        study = moves.hold(study_id)
        if not study.is_over:
            raise Conflict(f"{study_id} is {study.state}: cancel it before it is removed")
        jobs = moves.jobs(study)
        moves.discard(jobs)
        Jobs(self.session).forget(jobs)
        label_rows.remove(self.session, study_id)
        self.session.delete(study)
        return study

    def outcomes(self, study_id: str) -> list[Json]:
        """What every job of a study has shown so far, in the order of the plan's cells, then of its seeds."""
        self.get(study_id)
        return outcomes.gather(self.session, study_id)

    def standings(self, studies: Sequence[StudyRow]) -> list[tuple[Json, Json | None]]:
        """How far each study is, and its best cell so far: see `progress` and `best` in `store.outcomes`."""
        of_these = JobRow.study_id.in_([study.id for study in studies])
        rows = select(JobRow).where(of_these).order_by(JobRow.id).options(defer(JobRow.spec))
        jobs = defaultdict[str | None, list[JobRow]](list)
        for job in self.session.scalars(rows):
            jobs[job.study_id].append(job)
        return [
            (outcomes.progress(study, jobs[study.id]), outcomes.best(study, jobs[study.id]))
            for study in studies
        ]


def _goes_on(job: JobRow) -> bool:
    return job.state in (JobState.FAILED, JobState.CANCELLED) and not rounds.is_out(job)


def _job(study: StudyRow, cell: int, seed: int) -> JobRow:
    """One training of a study, as it goes on the queue."""
    planned = study.plan["cells"][cell]
    spec = {**planned["job"], "training": {**planned["job"]["training"], "seed": seed}}
    place = {
        "cell": cell,
        "values": planned["cell"],
        "seed": seed,
        **rounds.pauses(study.plan, cell, 1),
        "budget_seconds": study.plan["budget"].get("seconds"),
        "learning_rate": study.plan.get("learning_rate", "fixed"),
        "keep": study.document.get("keep_models", "winner"),
    }
    return JobRow(
        id=ids.new("job"),
        kind="train",
        state=JobState.QUEUED,
        dataset_id=study.dataset_id,
        dataset_name=study.dataset_name,
        model=study.model,
        labels=planned["job"].get("labels") or {},
        spec=spec,
        device=study.device,
        owner=study.owner,
        hinted_at=study.created_at,
        progress={"epoch": 0, "step": 0, "epochs": spec["training"].get("epochs")},
        metrics={},
        request_id=study.request_id,
        created_at=study.created_at,
        updated_at=study.created_at,
        study_id=study.id,
        study_place=place,
    )
