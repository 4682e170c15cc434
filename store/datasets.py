"""Datasets: add, find, list, remove."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, exists, false, select
from sqlalchemy.orm import Session

from store import ids, pages
from store import labels as label_rows
from store.database import now
from store.errors import Conflict, NotFound
from store.lifecycle import JobState
from store.pages import Page
from store.removals import Removals
from store.tables import DatasetRow, JobRow, StudyRow


class Datasets:
    """The uploaded datasets."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def create(
        self,
        *,
        id: str,  # noqa: A002 - the row's own word
        name: str,
        manifest: Mapping[str, object],
        labels: Mapping[str, str] | None = None,
        owner: str | None = None,
    ) -> DatasetRow:
        """Note a dataset whose files lie under `datasets/<id>` already; several may share a name."""
        if not ids.is_id(id, "ds"):
            raise ValueError(f"{id!r} is no id of a dataset: make it with ids.new('ds')")
        row = DatasetRow(
            id=id,
            name=ids.check_name("dataset's name", name),
            manifest=dict(manifest),
            sha256=str(manifest.get("sha256", "")),
            bytes=_whole(manifest.get("bytes")),
            labels=label_rows.check(labels or {}),
            owner=owner,
            artifact=f"datasets/{id}",
            created_at=now(self.session),
        )
        self.session.add(row)
        self.session.flush()
        label_rows.write(self.session, id, labels or {})
        return row

    def get(self, id_or_name: str) -> DatasetRow:
        """The dataset of this id, or the newest of this name, or `NotFound`."""
        row = None
        if ids.is_id(id_or_name, "ds"):
            row = self.session.get(DatasetRow, id_or_name)
        if row is None and ids.is_name(id_or_name):
            named = select(DatasetRow).where(DatasetRow.name == id_or_name)
            row = self.session.scalars(named.order_by(DatasetRow.id.desc()).limit(1)).one_or_none()
        if row is None:
            raise NotFound("dataset", id_or_name)
        return row

    def page(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Page[DatasetRow]:
        """Datasets, newest first."""
        rows = select(DatasetRow).where(*label_rows.matching(DatasetRow.id, labels or {}))
        if name is not None:
            rows = rows.where(DatasetRow.name == name if ids.is_name(name) else false())
        return pages.fetch(self.session, rows, DatasetRow.id, limit=limit, after=after)

    def remove(self, id_or_name: str) -> DatasetRow:
        """Remove a dataset and, soon, its files; `Conflict` while a job that is not over needs it."""
        row = self.get(id_or_name)
        # Held before the jobs are counted: whoever queues one now waits, and then finds no dataset.
        held = select(DatasetRow.id).where(DatasetRow.id == row.id).with_for_update()
        if self.session.execute(held).one_or_none() is None:
            raise NotFound("dataset", id_or_name)
        unfinished = exists().where(
            JobRow.dataset_id == row.id, JobRow.state.in_([JobState.QUEUED, JobState.RUNNING])
        )
        if self.session.execute(select(unfinished)).scalar_one():
            raise Conflict(f"a job that is not over needs the dataset {row.name} ({row.id})")
        label_rows.remove(self.session, row.id)
        self.session.delete(row)
        Removals(self.session).ask(row.artifact)
        return row


def made_from(table: type[JobRow | StudyRow], dataset: str) -> ColumnElement[bool]:
    """Whether a row was made from the dataset of that id, or of that name."""
    known = table.dataset_id if ids.is_id(dataset, "ds") else table.dataset_name
    return known == dataset if ids.is_name(dataset) else false()


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
