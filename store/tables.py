"""The tables, as SQLAlchemy sees them; the same on SQLite and on PostgreSQL.

`revision` grows by one with each change that a client can see: it is what ETags are made of.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, TypeAlias

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from store.lifecycle import JobState

# A JSON object whose shape belongs to whoever wrote it (a spec, a manifest, an event's data).
Json: TypeAlias = dict[str, Any]


class Instant(TypeDecorator[datetime]):
    """A moment in UTC, always aware; SQLite keeps it as text that sorts by age."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse what has no zone, since nobody could say which it meant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs its time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Table(DeclarativeBase):
    """What all tables have in common: names for constraints, and how Python types become columns."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: Instant(),
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        str: String(64),
        float: Float(53),
    }


_STATE = Enum(
    JobState,
    name="state",
    native_enum=False,
    length=16,
    create_constraint=True,
    values_callable=lambda states: [state.value for state in states],
)


class DatasetRow(Table):
    """An uploaded dataset in its canonical form; the rows themselves are the artifact."""

    __tablename__ = "dataset"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    sha256: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    labels: Mapped[dict[str, Any]]
    owner: Mapped[str | None]
    artifact: Mapped[str] = mapped_column(String(160))
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "name", "id"),)


class JobRow(Table):
    """A job: the truth about it; a message on the queue only says that there may be one."""

    __tablename__ = "job"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[JobState] = mapped_column(_STATE)
    dataset_id: Mapped[str]
    dataset_name: Mapped[str]
    model: Mapped[str | None]
    labels: Mapped[dict[str, Any]]
    spec: Mapped[dict[str, Any]]
    device: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(default=0)
    owner: Mapped[str | None]
    # Grows with each claim; every write of a worker names it: one that slept through its lease is fenced off.
    token: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    lost: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(128))
    asked: Mapped[str | None] = mapped_column(String(16))
    hinted_at: Mapped[datetime | None]
    events: Mapped[int] = mapped_column(default=0)
    progress: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    baselines: Mapped[dict[str, Any] | None]
    ended: Mapped[str | None] = mapped_column(String(32))
    problem: Mapped[dict[str, Any] | None]
    model_version: Mapped[int | None]
    request_id: Mapped[str | None] = mapped_column(String(200))
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    # When the checkpoints of a finished job were removed; none are left to resume from.
    swept_at: Mapped[datetime | None]
    study_id: Mapped[str | None]
    # Which training of its study it is, and how far it may go; see `store.studies`.
    study_place: Mapped[dict[str, Any] | None]
    # A queued job that waits for the others of its study at a rung: no worker takes it.
    held: Mapped[bool] = mapped_column(default=False, server_default=false())
    # The manifest of a model whose files are there, until its study's end decides whether it is kept.
    manifest: Mapped[dict[str, Any] | None]

    __table_args__ = (
        Index(None, "state", "device", "priority", "created_at"),
        Index(None, "state", "lease_until"),
        Index(None, "state", "finished_at"),
        Index(None, "state", "id"),
        Index(None, "dataset_id", "id"),
        Index(None, "dataset_name", "id"),
        Index(None, "model", "id"),
        Index(None, "study_id", "id"),
    )

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, one way or another."""
        return self.state.is_over


class StudyRow(Table):
    """A study: what was asked, the plan that was made of it, and how far its trainings are together."""

    __tablename__ = "study"

    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[JobState] = mapped_column(_STATE)
    dataset_id: Mapped[str]
    dataset_name: Mapped[str]
    document: Mapped[dict[str, Any]]
    plan: Mapped[dict[str, Any]]
    model: Mapped[str | None]
    labels: Mapped[dict[str, Any]]
    device: Mapped[str] = mapped_column(String(16))
    owner: Mapped[str | None]
    # The rung that its trainings are on their way to, counted from 1.
    rung: Mapped[int] = mapped_column(default=1)
    asked: Mapped[str | None] = mapped_column(String(16))
    problem: Mapped[dict[str, Any] | None]
    request_id: Mapped[str | None] = mapped_column(String(200))
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]

    __table_args__ = (
        Index(None, "state", "id"),
        Index(None, "dataset_id", "id"),
        Index(None, "dataset_name", "id"),
    )

    @property
    def is_over(self) -> bool:
        """Whether the study has ended, one way or another."""
        return self.state.is_over


class EventRow(Table):
    """A numbered fact of a job; numbers are 1, 2, 3 … without a gap, in the order of their commits."""

    __tablename__ = "event"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class ModelNameRow(Table):
    """A model's name: how many versions it ever had, and which of them the bare name means now."""

    __tablename__ = "model_name"

    name: Mapped[str] = mapped_column(primary_key=True)
    # Ever registered, removed ones included: a version number is never used twice.
    versions: Mapped[int] = mapped_column(default=0)
    current: Mapped[int | None]


class ModelRow(Table):
    """One version of a model; its files are the artifact."""

    __tablename__ = "model"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(ForeignKey("model_name.name"))
    version: Mapped[int]
    job_id: Mapped[str | None]
    dataset_id: Mapped[str | None]
    manifest: Mapped[dict[str, Any]]
    labels: Mapped[dict[str, Any]]
    error: Mapped[float | None]
    weights_sha256: Mapped[str | None]
    artifact: Mapped[str] = mapped_column(String(160))
    threshold: Mapped[dict[str, Any] | None]
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("name", "version"), UniqueConstraint("job_id"))


class AliasRow(Table):
    """A second name of one version: `faces@champion`."""

    __tablename__ = "alias"

    name: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]

    __table_args__ = (
        ForeignKeyConstraint(["name", "version"], ["model.name", "model.version"], ondelete="CASCADE"),
        Index(None, "name", "version"),
    )


class LabelRow(Table):
    """One label of a dataset, job or model (ids tell them apart), beside the JSON in its row, for filters."""

    __tablename__ = "label"

    subject: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(String(256))

    __table_args__ = (Index(None, "key", "value", "subject"),)


class WorkerRow(Table):
    """A worker that lives, or did until a moment ago."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    host: Mapped[str] = mapped_column(String(256))
    pid: Mapped[int]
    device: Mapped[str]
    version: Mapped[str]
    state: Mapped[str] = mapped_column(String(16))
    job_id: Mapped[str | None]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(index=True)


class KeyRow(Table):
    """An API key: what it may do, and the hash by which it is known. The key itself is kept nowhere."""

    __tablename__ = "api_key"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    sha256: Mapped[str]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    def allows(self, scope: str) -> bool:
        """Whether the key may be used for this; `admin` may everything."""
        return scope in self.scopes or "admin" in self.scopes


class IdempotencyRow(Table):
    """The first answer to a caller's Idempotency-Key; without a status while it is being made."""

    __tablename__ = "idempotency"

    caller: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    route: Mapped[str] = mapped_column(String(256))
    body_sha256: Mapped[str]
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    begun_at: Mapped[datetime] = mapped_column(index=True)


class RemovalRow(Table):
    """Files to remove, noted in the transaction that removed their row: none are forgotten in a crash."""

    __tablename__ = "removal"

    artifact: Mapped[str] = mapped_column(String(160), primary_key=True)
    problem: Mapped[str | None] = mapped_column(Text)
    asked_at: Mapped[datetime]
