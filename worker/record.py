"""The child's entries in its job's rows: lines as they come, and the end, each fenced by its token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from store.datasets import Datasets
from store.errors import ArtifactMissing, NotFound, Unavailable
from store.events import EventLog
from store.jobs import Jobs
from store.models import Models, Promote
from store.store import Store
from store.tables import JobRow
from worker.publish import Line

T = TypeVar("T")

_EVENTS_AT_ONCE = 5_000


class EarlierModelGone(Exception):
    """A model that a job needs was removed before it began."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"the model {reference}, which this job needs, was removed")


class Record:
    """One job's rows, as its child reads and writes them.

    Args:
        store: where they are.
        row: the job as it was claimed.
        patience_seconds: how long the end is tried again while the database is away.
    """

    def __init__(self, store: Store, row: JobRow, *, patience_seconds: float) -> None:
        self._store, self._row, self._patience = store, row, patience_seconds
        self._keep: str = (row.study_place or {}).get("keep", "all")

    def write(
        self, lines: list[Line], progress: dict[str, Any] | None, metrics: dict[str, Any] | None
    ) -> None:
        """Write lines, and the newest progress and metrics."""
        with self._store.transaction() as session:
            Jobs(session).record(
                self._row.id, self._row.token, progress=progress, metrics=metrics, events=lines
            )

    def note_baselines(self, baselines: Mapping[str, float | None]) -> None:
        """Write what predicting the mean, and PCA, would reach."""
        with self._store.transaction() as session:
            Jobs(session).record(self._row.id, self._row.token, baselines=dict(baselines))

    def dataset(self) -> Path:
        """The dataset's files."""
        with self._store.session() as session:
            artifact = Datasets(session).get(self._row.dataset_id).artifact
        return self._store.artifacts.local_copy(artifact)

    def bundle(self, reference: str) -> Path:
        """The files of an earlier model: to begin with its weights, or to encode with it.

        Raises:
            EarlierModelGone: it was removed.
        """
        try:
            with self._store.session() as session:
                artifact = Models(session).resolve(reference).artifact
            return self._store.artifacts.local_copy(artifact)
        except (NotFound, ArtifactMissing) as error:
            raise EarlierModelGone(reference) from error

    def events(self) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
        """Everything that happened to the job so far: number, type, time and data."""
        number = 0
        while True:
            with self._store.session() as session:
                rows = EventLog(session).read(self._row.id, after=number, limit=_EVENTS_AT_ONCE)
            for row in rows:
                yield row.number, row.type, row.at.isoformat(), row.data
            if len(rows) < _EVENTS_AT_ONCE:
                return
            number = rows[-1].number

    def succeed(
        self,
        *,
        lines: list[Line],
        progress: dict[str, Any] | None,
        metrics: dict[str, Any],
        manifest: dict[str, Any],
        ended: str,
    ) -> None:
        """Register the model and end the job, in one transaction: there is never one without the other.

        Of a study's jobs that keep but one model, which that is shows at the study's end: until then the
        manifest waits in the job's row.
        """

        def end(jobs: Jobs, models: Models) -> None:
            jobs.record(self._row.id, self._row.token, progress=progress, events=lines)
            version = self._register(models, manifest, metrics) if self._keep == "all" else None
            jobs.finish(
                self._row.id,
                self._row.token,
                "succeeded",
                ended=ended,
                metrics=metrics,
                model_version=version,
                manifest=manifest if self._keep == "winner" else None,
            )

        self._insist(end)

    @property
    def keeps_model(self) -> bool:
        """Whether the job's model may be kept, and its files are therefore needed."""
        return self._keep != "none"

    def pause(
        self, *, lines: list[Line], progress: dict[str, Any] | None, metrics: dict[str, Any] | None
    ) -> None:
        """Have the job wait for the others of its study."""

        def wait(jobs: Jobs, _: Models) -> None:
            jobs.record(self._row.id, self._row.token, progress=progress, events=lines)
            jobs.pause(self._row.id, self._row.token, metrics=metrics)

        self._insist(wait)

    def complete(
        self,
        *,
        lines: list[Line],
        progress: dict[str, Any] | None,
        metrics: dict[str, Any],
    ) -> None:
        """End a job that made no model, since its files are where they belong."""

        def end(jobs: Jobs, _: Models) -> None:
            jobs.record(self._row.id, self._row.token, progress=progress, events=lines)
            jobs.finish(self._row.id, self._row.token, "succeeded", metrics=metrics)

        self._insist(end)

    def fail(
        self,
        problem: dict[str, Any],
        *,
        lines: list[Line],
        progress: dict[str, Any] | None,
        metrics: dict[str, Any] | None,
    ) -> None:
        """End the job as failed."""

        def end(jobs: Jobs, _: Models) -> None:
            jobs.record(self._row.id, self._row.token, progress=progress, metrics=metrics, events=lines)
            jobs.finish(self._row.id, self._row.token, "failed", problem=problem)

        self._insist(end)

    def _register(self, models: Models, manifest: dict[str, Any], metrics: dict[str, Any]) -> int:
        promote: Promote = self._row.spec.get("promote") or "always"
        return models.register(
            name=self._row.model or self._row.dataset_name,
            job_id=self._row.id,
            dataset_id=self._row.dataset_id,
            manifest=manifest,
            labels=self._row.labels,
            # Which of a study's models is the best is not known before its end.
            promote=promote if self._row.study_id is None else "never",
            error=metrics.get("error"),
        ).version

    def _insist(self, act: Callable[[Jobs, Models], T]) -> T:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                with self._store.transaction() as session:
                    jobs = Jobs(session)
                    jobs.hold_study(self._row.id)  # before the job's own row: so nobody waits in a circle
                    return act(jobs, Models(session))
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
