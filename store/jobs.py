"""Jobs: the client's side: create, find, list, cancel, stop, resume, remove (the worker's side is Leases)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import and_, delete, false, func, or_, select

from store import ids, moves, pages
from store import labels as label_rows
from store.database import now
from store.datasets import made_from
from store.errors import Conflict, IllegalMove, NotFound
from store.events import EventLog
from store.leases import Leases
from store.lifecycle import JobState, check_move
from store.models import RESERVED_NAMES, Models, needed
from store.pages import Page
from store.removals import Removals
from store.tables import DatasetRow, EventRow, JobRow

# The kinds of job that a client may stop, to have what there is by then.
_STOPPABLE = ("train",)


class Jobs(Leases):
    """Everything that happens to jobs."""

    def create(
        self,
        *,
        kind: str,
        spec: Mapping[str, object],
        dataset_id: str,
        dataset_name: str,
        model: str | None,
        labels: Mapping[str, str],
        device: str,
        owner: str | None = None,
        request_id: str | None = None,
        priority: int = 0,
        baselines: Mapping[str, object] | None = None,
        epochs: int | None = None,
        rows: int | None = None,
        model_version: int | None = None,
    ) -> JobRow:
        """Put a job on the queue, with its first event in the same transaction; send a hint after that.

        `epochs` or `rows` is how much there is to do; `model_version` that of a model which is there already.
        `NotFound` where its dataset, or a model that it needs, is gone.
        """
        if model is not None:
            ids.check_name("model's name", model, reserved=RESERVED_NAMES)
        moment = now(self.session)
        progress: dict[str, object] = {"epoch": 0, "step": 0}
        if epochs is not None:
            progress["epochs"] = epochs
        if rows is not None:
            progress.update(rows=0, rows_total=rows)
        job = JobRow(
            id=ids.new("job"),
            kind=kind,
            state=JobState.QUEUED,
            dataset_id=dataset_id,
            dataset_name=dataset_name,
            model=model,
            model_version=model_version,
            labels=dict(labels),
            spec=dict(spec),
            device=device,
            priority=priority,
            owner=owner,
            # The one who creates it sends the hint; the caretaker only where that one is old.
            hinted_at=moment,
            progress=progress,
            metrics={},
            baselines=None if baselines is None else dict(baselines),
            request_id=None if request_id is None else request_id[:200],
            created_at=moment,
            updated_at=moment,
        )
        self.enqueue([job])
        return job

    def enqueue(self, jobs: Sequence[JobRow]) -> None:
        """Put new rows on the queue, each with its first event.

        `NotFound` where a dataset, or a model that one of them needs, is gone.
        """
        for dataset in sorted({job.dataset_id for job in jobs}):
            self._need_dataset(dataset)
        for source in sorted({source for job in jobs for source in needed(job.spec)}):
            Models(self.session).hold(source)
        for job in jobs:
            job.labels = label_rows.check(job.labels)
        EventLog(self.session).begin(jobs, ("state", {"state": JobState.QUEUED.value}))
        for job in jobs:
            label_rows.write(self.session, job.id, job.labels)

    def get(self, job_id: str) -> JobRow:
        """The job, or `NotFound`."""
        job = self.session.get(JobRow, job_id) if ids.is_id(job_id, "job") else None
        if job is None:
            raise NotFound("job", job_id)
        return job

    def page(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        state: JobState | str | None = None,
        dataset: str | None = None,
        model: str | None = None,
        study: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Page[JobRow]:
        """Jobs, newest first; a dataset is given by id or by name."""
        rows = select(JobRow)
        if study is not None:
            rows = rows.where(JobRow.study_id == study if ids.is_id(study, "study") else false())
        if state is not None:
            rows = rows.where(JobRow.state == JobState(state))
        if dataset is not None:
            rows = rows.where(made_from(JobRow, dataset))
        if model is not None:
            rows = rows.where(JobRow.model == model if ids.is_name(model) else false())
        rows = rows.where(*label_rows.matching(JobRow.id, labels or {}))
        return pages.fetch(self.session, rows, JobRow.id, limit=limit, after=after)

    def position(self, job: JobRow) -> int:
        """The place of a queued job in its device's queue as things stand: 1 is the next."""
        running = (
            select(JobRow.owner, func.count().label("jobs"))
            .where(JobRow.state == JobState.RUNNING)
            .group_by(JobRow.owner)
            .subquery()
        )
        mine = self.session.execute(
            select(func.count()).where(
                JobRow.state == JobState.RUNNING, JobRow.owner.is_not_distinct_from(job.owner)
            )
        ).scalar_one()
        theirs = func.coalesce(running.c.jobs, 0)
        older = or_(
            JobRow.created_at < job.created_at, and_(JobRow.created_at == job.created_at, JobRow.id < job.id)
        )
        ahead = or_(
            JobRow.priority > job.priority,
            and_(JobRow.priority == job.priority, theirs < mine),
            and_(JobRow.priority == job.priority, theirs == mine, older),
        )
        before = (
            select(func.count())
            .select_from(JobRow)
            .outerjoin(running, JobRow.owner.is_not_distinct_from(running.c.owner))
            .where(
                JobRow.state == JobState.QUEUED,
                JobRow.held == false(),
                JobRow.device == job.device,
                ahead,
            )
        )
        return self.session.execute(before).scalar_one() + 1

    def counts(self) -> dict[tuple[str, JobState], int]:
        """How many jobs there are by device and state."""
        rows = select(JobRow.device, JobRow.state, func.count()).group_by(JobRow.device, JobRow.state)
        return {(device, state): count for device, state, count in self.session.execute(rows)}

    def cancel(self, job_id: str) -> JobRow:
        """End a job and publish nothing: a queued one now, a running one once its worker has ended it."""
        study = self.hold_study(job_id)
        job = self._found(job_id)
        self.end_or_ask([job])
        self._settle(study)
        return job

    def end_or_ask(self, jobs: Sequence[JobRow]) -> None:
        """Cancel held jobs: end those that wait, ask the workers of those that run."""
        for job in jobs:
            if job.state is JobState.RUNNING:
                self._ask(job, "cancel")
        moves.end(
            self.session, [job for job in jobs if job.state is not JobState.RUNNING], JobState.CANCELLED
        )

    def stop(self, job_id: str) -> JobRow:
        """Ask a running job to end after this step and publish its best weights."""
        job = self._found(job_id)
        if job.kind not in _STOPPABLE:
            detail = f"a job of the kind {job.kind!r} has nothing to publish before its end: cancel it"
            raise IllegalMove(job.state.value, JobState.SUCCEEDED.value, detail=detail)
        if job.state is not JobState.RUNNING:
            detail = f"only a running job can be stopped; this one is {job.state}"
            raise IllegalMove(job.state.value, JobState.SUCCEEDED.value, detail=detail)
        if job.asked != "cancel":
            self._ask(job, "stop")
        return job

    def resume(self, job_id: str) -> JobRow:
        """Put a failed or cancelled job back on the queue, to go on from its last checkpoint."""
        job = self._found(job_id)
        if job.study_id is not None:
            raise Conflict(f"{job_id} belongs to {job.study_id}, whose trainings go together: resume that")
        if job.state is JobState.RUNNING:  # the table lets it go back to the queue, but not by a client
            raise IllegalMove(job.state.value, JobState.QUEUED.value, detail="a running job needs no resume")
        check_move(job.state, JobState.QUEUED)
        self.need_dataset_of(job_id, job.dataset_id, job.dataset_name)
        if job.kind == "embed":  # a training has the weights that it began with in its checkpoints
            self._need_models(job)
        self.reopen([job])
        return job

    def reopen(self, jobs: Sequence[JobRow]) -> None:
        """Put held jobs that have ended back on the queue; a paused one waits on at its rung."""
        for job in jobs:
            job.ended = job.problem = job.finished_at = job.asked = job.swept_at = None
            job.lost = 0
        moves.requeue(self.session, jobs)

    def remove(self, job_id: str) -> JobRow:
        """Remove a job that is over, with its events and, soon, its files; its model stays."""
        job = self._found(job_id)
        if job.study_id is not None:
            raise Conflict(f"{job_id} is part of {job.study_id}: remove that")
        if not job.is_over:
            raise Conflict(f"{job_id} is {job.state}: cancel it before it is removed")
        self.forget([job])
        return job

    def forget(self, jobs: Sequence[JobRow]) -> None:
        """Remove the rows of jobs that are over, with their events and, soon, their files."""
        for job in jobs:
            label_rows.remove(self.session, job.id)
            self.session.execute(delete(EventRow).where(EventRow.job_id == job.id))
            self.session.delete(job)
        Removals(self.session).ask_all([f"jobs/{job.id}" for job in jobs])

    def need_dataset_of(self, subject: str, dataset_id: str, dataset_name: str) -> None:
        """Hold the dataset of what is to go on, or `Conflict`."""
        try:
            self._need_dataset(dataset_id)
        except NotFound as problem:
            raise Conflict(f"{subject} cannot go on: its dataset {dataset_name} was removed") from problem

    def _ask(self, job: JobRow, what: str) -> None:
        if job.asked != what:
            job.asked = what
            moves.touch(job, now(self.session))

    def _need_models(self, job: JobRow) -> None:
        for reference in sorted(needed(job.spec)):
            try:
                Models(self.session).hold(reference)
            except NotFound as problem:
                raise Conflict(f"{job.id} cannot go on: its model {reference} was removed") from problem

    def _need_dataset(self, dataset_id: str) -> None:
        """Hold the dataset's row, so that it is not removed while a job that needs it is being queued."""
        found = self.session.execute(
            select(DatasetRow.id)
            .where(DatasetRow.id == dataset_id)
            .with_for_update(read=True, key_share=True)
        )
        if found.one_or_none() is None:
            raise NotFound("dataset", dataset_id)
