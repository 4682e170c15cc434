"""The memory: rows, files, events and the queue, each moved only through its own small repository."""

from __future__ import annotations

from store.artifacts import Artifacts
from store.caretaker import Caretaker
from store.datasets import Datasets
from store.errors import (
    ArtifactMissing,
    BadCursor,
    BadName,
    Conflict,
    Fenced,
    IllegalMove,
    NoRoom,
    NotFound,
    SchemaOutdated,
    StoreError,
    Unavailable,
)
from store.events import EventLog, Head
from store.idempotency import Idempotency, Stored
from store.jobs import Jobs
from store.keys import SCOPES, Keys
from store.lifecycle import MOVES, JobState
from store.migrate import migrate
from store.models import Models
from store.pages import Page
from store.queue import DEVICES, WAKE, Queue, make_celery
from store.settings import StoreSettings, socket_path
from store.store import Store
from store.studies import Studies
from store.tables import DatasetRow, EventRow, JobRow, Json, KeyRow, ModelRow, StudyRow, WorkerRow
from store.workers import WorkerFacts, Workers

__all__ = [
    "DEVICES",
    "MOVES",
    "SCOPES",
    "WAKE",
    "ArtifactMissing",
    "Artifacts",
    "BadCursor",
    "BadName",
    "Caretaker",
    "Conflict",
    "DatasetRow",
    "Datasets",
    "EventLog",
    "EventRow",
    "Fenced",
    "Head",
    "Idempotency",
    "IllegalMove",
    "JobRow",
    "JobState",
    "Jobs",
    "Json",
    "KeyRow",
    "Keys",
    "ModelRow",
    "Models",
    "NoRoom",
    "NotFound",
    "Page",
    "Queue",
    "SchemaOutdated",
    "Store",
    "StoreError",
    "StoreSettings",
    "Stored",
    "Studies",
    "StudyRow",
    "Unavailable",
    "WorkerFacts",
    "WorkerRow",
    "Workers",
    "make_celery",
    "migrate",
    "socket_path",
]
