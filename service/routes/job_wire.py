"""Jobs as the wire shows them, and the body that makes one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy.orm import Session

from autoencoders.catalog import Choice
from autoencoders.models import codes
from autoencoders.spec import Spec
from service.dependencies import NAME_PATTERN, RESERVED_NAMES
from store import JobRow, Jobs, JobState

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
StateName = Literal["queued", "running", "succeeded", "failed", "cancelled"]

_SMALLEST: dict[str, Any] = {"dataset": "digits", "code": 8}
_FULL: dict[str, Any] = {
    "dataset": "digits",
    "model": "digits-code",
    "architecture": {
        "name": "dense",
        "widths": [1000, 500, 250],
        "code": 30,
        "activation": "sigmoid",
        "norm": "none",
        "output": "sigmoid",
    },
    "init": "pca_greedy",
    "objective": {"loss": "bce"},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "training": {"epochs": 20, "batch_size": 256, "seed": 7},
    "labels": {"team": "vision"},
}


def _open_schema(schema: dict[str, Any]) -> None:
    """`code` may stand for the architecture, so the schema must not insist on it."""
    schema["required"] = ["dataset"]
    schema["examples"] = [_SMALLEST, _FULL]


class JobRequest(Spec):
    """The body of a job: a dataset, how to train on it, and what to call the result."""

    model_config = ConfigDict(json_schema_extra=_open_schema)

    dataset: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            description="Its id or name; a built-in sample's name works by itself.",
        ),
    ]
    model: Name | None = Field(None, description="The name to register under; unset: the dataset's.")
    code: Annotated[Choice, codes] | None = Field(
        None,
        exclude=True,
        description="Short for `architecture.code`; a bare integer is a plain code of that size.",
    )
    promote: Literal["always", "if_better", "never"] = Field(
        "always", description="Whether the bare model name moves to the new version."
    )
    align_to: str | None = Field(
        None,
        max_length=129,
        description="An earlier model, as `faces`, `faces@3` or `faces@champion`: this one's code is turned "
        "onto its code, so that stored embeddings stay comparable. Both need a plain code of one size, and "
        "rows of one shape.",
    )
    labels: dict[str, str] = Field(default={}, max_length=64)

    @model_validator(mode="after")
    def _no_reserved_name(self) -> JobRequest:
        if self.model in RESERVED_NAMES:
            raise ValueError(f"model: the name {self.model!r} is reserved")
        return self


class Progress(BaseModel):
    """How far a job is."""

    model_config = ConfigDict(extra="allow")

    epoch: int = Field(0, description="Epochs finished.")
    epochs: int | None = None
    step: int = 0
    rows: int | None = Field(None, description="Of an embed job: rows done.")
    rows_total: int | None = Field(None, description="Of an embed job: rows in all.")
    rows_per_second: float | None = None
    seconds_left: float | None = None
    position: int | None = Field(
        None,
        description="While queued: the place in the queue, 1 is the next; null where it waits for its study.",
    )


class ModelRef(BaseModel):
    """The model that a job makes, its version when there is one; or the one that it encodes with."""

    name: str
    version: int | None


class DatasetRef(BaseModel):
    """The dataset that a job saw."""

    id: str
    name: str


class StudyPlace(BaseModel):
    """Where in a study a job stands."""

    id: str
    cell: dict[str, Any] = Field(description="Path to value: what its study varies.")
    seed: int
    rung: int = Field(description="How far in its study's race it is, from 1.")


class Baselines(BaseModel):
    """The mean's and PCA's held-out error at the same code size: what this model has to beat."""

    model_config = ConfigDict(extra="allow")

    mean: float | None = None
    pca: float | None = None


_VIEW: dict[str, Any] = {
    "id": "job_06a5kx2m3v0000w8q4e6r2t9y1",
    "kind": "train",
    "state": "running",
    "dataset": {"id": "ds_06a5kx2m3v0000w8q4e6r2t9y1", "name": "digits"},
    "model": {"name": "digits-code", "version": None},
    "spec": _FULL,
    "device": "cpu",
    "labels": {"team": "vision"},
    "progress": {
        "epoch": 3,
        "epochs": 20,
        "step": 21,
        "rows_per_second": 8100.0,
        "seconds_left": 3.4,
        "position": None,
    },
    "metrics": {"error": 4.2, "loss": 18.1},
    "baselines": {"mean": 9.1, "pca": 2.0},
    "study": None,
    "attempts": 1,
    "worker": "node-7-cpu",
    "asked": None,
    "ended": None,
    "problem": None,
    "links": {"events": "/v1/jobs/job_06a5kx2m3v0000w8q4e6r2t9y1/events"},
    "created_at": "2026-01-02T03:04:05Z",
    "started_at": "2026-01-02T03:04:06Z",
    "finished_at": None,
    "updated_at": "2026-01-02T03:04:09Z",
}


class JobView(BaseModel):
    """A job."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VIEW]})

    id: str
    kind: str
    state: StateName
    dataset: DatasetRef
    model: ModelRef | None
    spec: dict[str, Any] = Field(
        description="The full spec that runs; a training's is a body to submit again."
    )
    device: str
    labels: dict[str, str]
    progress: Progress
    metrics: dict[str, Any] = Field(
        description="Of a training, `error`: squared error on held-out rows, scaled; `loss`: the objective. "
        "Of an embed job, `rows`, `bytes` and `sha256` of its file."
    )
    baselines: Baselines | None
    study: StudyPlace | None = Field(description="Null for a job that was submitted by itself.")
    attempts: int
    worker: str | None
    asked: Literal["cancel", "stop"] | None = Field(description="What was asked of it and is not yet done.")
    ended: Literal["epochs", "early_stopping", "stopped", "max_seconds"] | None
    problem: dict[str, Any] | None
    links: dict[str, str] = Field(description="Where its events are, and what it has made so far.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


class DryRun(BaseModel):
    """What a job would be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "spec": _FULL,
                    "dataset": {"id": "ds_06a5kx2m3v0000w8q4e6r2t9y1", "name": "digits"},
                    "model": "digits-code",
                    "device": "cpu",
                    "parameters": 1396094,
                    "memory_bytes": 34000000,
                    "seconds": 21.5,
                }
            ]
        }
    )

    spec: dict[str, Any]
    dataset: DatasetRef
    model: str
    device: str
    parameters: int
    memory_bytes: int
    seconds: float = Field(
        description="A rough estimate: the matrix products of all epochs, and of the race for an init where "
        "one is to be chosen, at a usual rate."
    )


def view_of(session: Session, row: JobRow) -> JobView:
    """A job's row as the wire shows it."""
    progress: dict[str, Any] = {**row.progress, "position": None}
    if row.state is JobState.QUEUED and not row.held:
        progress["position"] = Jobs(session).position(row)
    return JobView.model_validate(
        {
            "id": row.id,
            "kind": row.kind,
            "state": row.state.value,
            "dataset": {"id": row.dataset_id, "name": row.dataset_name},
            "model": None if row.model is None else {"name": row.model, "version": row.model_version},
            "spec": row.spec,
            "device": row.device,
            "labels": row.labels,
            "progress": progress,
            "metrics": row.metrics,
            "baselines": row.baselines,
            "study": _study_place(row),
            "attempts": row.attempts,
            "worker": row.worker,
            "asked": None if row.is_over else row.asked,
            "ended": row.ended,
            "problem": row.problem,
            "links": _links(row),
            "created_at": row.created_at,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
            "updated_at": row.updated_at,
        }
    )


def _study_place(row: JobRow) -> dict[str, Any] | None:
    if row.study_id is None or row.study_place is None:
        return None
    place = row.study_place
    return {"id": row.study_id, "cell": place["values"], "seed": place["seed"], "rung": place["rung"]}


def _links(row: JobRow) -> dict[str, str]:
    """Where to go on from a job: a training's report and model, an embed job's file."""
    here = f"/v1/jobs/{row.id}"
    links = {"events": f"{here}/events"}
    if row.study_id is not None:
        links["study"] = f"/v1/studies/{row.study_id}"
    if row.model is not None and row.model_version is not None:
        links["model"] = f"/v1/models/{row.model}@{row.model_version}"
    if row.state is JobState.SUCCEEDED:
        made = {"train": "report", "embed": "embeddings"}.get(row.kind)
        links |= {} if made is None else {made: f"{here}/{made}"}
    return links
