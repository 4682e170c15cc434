"""Rows that a test takes for granted."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from store import DatasetRow, Datasets, JobRow, Jobs, JobState, Store, ids


def dataset(store: Store, name: str = "digits", labels: Mapping[str, str] | None = None) -> DatasetRow:
    with store.transaction() as session:
        manifest = {"sha256": "0" * 64, "bytes": 5_000_000_000}
        return Datasets(session).create(id=ids.new("ds"), name=name, manifest=manifest, labels=labels)


def queued(
    session: Session,
    data: DatasetRow,
    *,
    device: str = "cpu",
    owner: str | None = None,
    priority: int = 0,
    model: str | None = "faces",
    labels: Mapping[str, str] | None = None,
) -> JobRow:
    return Jobs(session).create(
        kind="train",
        spec={"dataset": data.name},
        dataset_id=data.id,
        dataset_name=data.name,
        model=model,
        labels=labels or {},
        device=device,
        owner=owner,
        priority=priority,
        epochs=20,
    )


def job(
    store: Store,
    data: DatasetRow | None = None,
    *,
    device: str = "cpu",
    owner: str | None = None,
    priority: int = 0,
    model: str | None = "faces",
    labels: Mapping[str, str] | None = None,
) -> JobRow:
    data = data or dataset(store)
    with store.transaction() as session:
        return queued(
            session, data, device=device, owner=owner, priority=priority, model=model, labels=labels
        )


def claim(
    store: Store, *, worker: str = "w1", devices: tuple[str, ...] = ("cpu",), lease: float = 60
) -> JobRow:
    with store.transaction() as session:
        claimed = Jobs(session).claim_next(worker=worker, devices=devices, lease_seconds=lease)
    assert claimed is not None
    return claimed


def running(store: Store, *, lease: float = 60, owner: str | None = None) -> JobRow:
    """A job that was queued and claimed; with a lease below zero it has run out already."""
    job(store, owner=owner)
    return claim(store, lease=lease)


def over(store: Store, state: JobState) -> JobRow:
    held = running(store)
    with store.transaction() as session:
        return Jobs(session).finish(held.id, held.token, state)


def in_state(store: Store, state: JobState) -> JobRow:
    if state is JobState.QUEUED:
        return job(store)
    return running(store) if state is JobState.RUNNING else over(store, state)


def found(store: Store, job_id: str) -> JobRow:
    with store.session() as session:
        return Jobs(session).get(job_id)
