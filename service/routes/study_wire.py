"""Studies as the wire shows them, and the body that makes one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from sqlalchemy.orm import Session

from autoencoders.study.presets import PRESETS
from service.dependencies import RESERVED_NAMES
from service.routes.job_wire import DatasetRef, JobRequest, Name, StateName
from store import Studies, StudyRow

LearningRate = Literal["fixed", "trial", "range_test"]
KeepModels = Literal["winner", "all", "none"]
Path = Annotated[str, StringConstraints(min_length=1, max_length=200)]
PresetName = Annotated[str, WithJsonSchema({"type": "string", "enum": [*PRESETS]})]
Cell = dict[str, Any]

_REQUEST: dict[str, Any] = {
    "base": {"dataset": "digits", "code": 8, "training": {"epochs": 20}},
    "grid": {
        "init": ["he_normal", "orthogonal", {"name": "normal", "std": 0.01}],
        "architecture.activation": ["tanh", "sigmoid"],
    },
    "seeds": [0, 1, 2],
}
_FULL: dict[str, Any] = {
    "base": {"dataset": "digits", "code": 8},
    "preset": "inits",
    "seeds": [0, 1],
    "budget": {"epochs": 27},
    "learning_rate": "trial",
    "racing": True,
    "unfit": "skip",
    "keep_models": "winner",
    "model": "digits-code",
    "labels": {"team": "vision"},
}


class StudyBase(BaseModel):
    """What is left of a job's body when its spec is taken away: the rest is the plan's to read."""

    model_config = ConfigDict(extra="allow", frozen=True)

    dataset: Annotated[str, Field(min_length=1, max_length=64)]
    model: Name | None = None
    promote: Literal["always", "if_better", "never"] = "always"
    align_to: Annotated[str, Field(max_length=129)] | None = None
    labels: dict[str, str] = Field(default={}, max_length=64)


class _AsAJob:
    """Describes a field as what it is for whoever sends it: the body of a job."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(JobRequest.__pydantic_core_schema__)


class StudyBudget(BaseModel):
    """What every cell may use, its initialisation counted: epochs, or seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: PositiveInt | None = Field(
        None, description="Passes over the training rows, those that a pretraining makes among them."
    )
    seconds: PositiveFloat | None = Field(
        None, description="By the clock, so that a study does not repeat exactly."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> StudyBudget:
        if (self.epochs is None) == (self.seconds is None):
            raise ValueError("give `epochs` or `seconds`: one of them")
        return self


class StudyRequest(BaseModel):
    """The body of a study: a base job, what to vary in it, and what every cell may use."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={"examples": [_REQUEST, _FULL]},
    )

    base: Annotated[StudyBase, _AsAJob()] = Field(
        description="The body of a job; what the grid gives may be missing in it."
    )
    grid: dict[Path, Annotated[list[Any], Field(min_length=1, max_length=1000)]] | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="The values to try for fields of the base, each named by its path, such as `init`, "
        "`architecture.activation`, `architecture.widths` or `optimizer`: every combination is a cell.",
    )
    preset: PresetName | None = Field(None, description="A ready grid instead of one of your own.")
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1, max_length=100)] | None = Field(
        None, description="Every cell is trained from each of them; unset: the base's seed alone."
    )
    budget: StudyBudget | None = Field(None, description="Unset: the base's epochs.")
    learning_rate: LearningRate = Field(
        "fixed",
        description="How a cell gets its rate: the spec's, the best of short trials on a grid of rates that "
        "widens while the best lies at its edge, or from a test over a growing rate.",
    )
    racing: bool = Field(
        False, description="Stop losing cells early, by successive halving: a third goes on at each rung."
    )
    unfit: Literal["refuse", "skip"] = Field(
        "refuse", description="What to do about cells that cannot be built: a 422, or leave them out."
    )
    keep_models: KeepModels = Field(
        "winner", description="Whose models are kept: the best cell's best one, all, or none."
    )
    model: Name | None = Field(
        None, description="The name to register under; unset: the base's, or the dataset's."
    )
    labels: dict[str, str] = Field(default={}, max_length=64)

    @model_validator(mode="after")
    def _no_reserved_name(self) -> StudyRequest:
        for name in (self.model, self.base.model):
            if name in RESERVED_NAMES:
                raise ValueError(f"model: the name {name!r} is reserved")
        return self


class StudyProgress(BaseModel):
    """How far a study is."""

    model_config = ConfigDict(extra="allow")

    epoch: int = Field(0, description="Epochs that its jobs have finished, all together.")
    epochs: int | None = Field(
        None, description="Of those that they will; null where the budget is in seconds."
    )
    jobs: int = 0
    jobs_over: int = Field(0, description="Of them: ended, or raced out.")
    jobs_running: int = 0
    rung: int = Field(1, description="Which stretch of the race it is at, from 1.")
    rungs: int = Field(1, description="How many stretches there are: 1 without racing.")
    seconds_left: float | None = None


class StudyBest(BaseModel):
    """The cell that leads so far."""

    cell: Cell
    error: float = Field(description="Its mean held-out error over the seeds that have one.")


class Skipped(BaseModel):
    """A cell that was left out, since its spec cannot be built."""

    cell: Cell
    why: str


_CELL: Cell = {"init": "orthogonal", "architecture.activation": "tanh"}
_VIEW: dict[str, Any] = {
    "id": "study_06a5kx2m3v0000w8q4e6r2t9y1",
    "kind": "study",
    "state": "running",
    "dataset": {"id": "ds_06a5kx2m3v0000w8q4e6r2t9y1", "name": "digits"},
    "model": "digits",
    "device": "cpu",
    **_REQUEST,
    "preset": None,
    "budget": {"epochs": 20},
    "learning_rate": "fixed",
    "racing": False,
    "unfit": "refuse",
    "keep_models": "winner",
    "labels": {},
    "cells": 6,
    "skipped": [],
    "progress": {
        "epoch": 163,
        "epochs": 360,
        "jobs": 18,
        "jobs_over": 8,
        "jobs_running": 1,
        "rung": 1,
        "rungs": 1,
        "seconds_left": 24.0,
    },
    "best": {"cell": _CELL, "error": 0.83},
    "asked": None,
    "problem": None,
    "links": {
        "report": "/v1/studies/study_06a5kx2m3v0000w8q4e6r2t9y1/report",
        "jobs": "/v1/jobs?study=study_06a5kx2m3v0000w8q4e6r2t9y1",
    },
    "created_at": "2026-01-02T03:04:05Z",
    "started_at": "2026-01-02T03:04:06Z",
    "finished_at": None,
    "updated_at": "2026-01-02T03:04:09Z",
}


class StudyView(BaseModel):
    """A study."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VIEW]})

    id: str
    kind: Literal["study"] = "study"
    state: StateName
    dataset: DatasetRef
    model: str = Field(description="The name that a kept model is registered under.")
    device: str
    base: dict[str, Any] = Field(description="The base as it was submitted; each job shows its full spec.")
    grid: dict[str, list[Any]] = Field(description="Of a preset too.")
    preset: str | None
    seeds: list[int]
    budget: StudyBudget
    learning_rate: LearningRate
    racing: bool
    unfit: Literal["refuse", "skip"]
    keep_models: KeepModels
    labels: dict[str, str]
    cells: int = Field(description="How many there are; each has one job for each seed.")
    skipped: list[Skipped]
    progress: StudyProgress
    best: StudyBest | None = Field(description="So far, at the rung that each cell has come to.")
    asked: Literal["cancel"] | None = Field(description="What was asked of it and is not yet done.")
    problem: dict[str, Any] | None
    links: dict[str, str] = Field(description="Where its report and its jobs are.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


class PlannedCell(BaseModel):
    """One cell as it would be trained."""

    cell: Cell
    job: dict[str, Any] = Field(description="The full spec of its jobs, but for the seed.")
    parameters: int
    memory_bytes: int
    seconds: float = Field(description="A rough estimate of one job of the whole budget.")


class StudyDryRun(BaseModel):
    """What a study would be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "dataset": {"id": "ds_06a5kx2m3v0000w8q4e6r2t9y1", "name": "digits"},
                    "model": "digits",
                    "device": "cpu",
                    "cells": [
                        {
                            "cell": _CELL,
                            "job": {"dataset": "digits", "model": "digits"},
                            "parameters": 51000,
                            "memory_bytes": 3400000,
                            "seconds": 4.5,
                        }
                    ],
                    "skipped": [],
                    "seeds": [0, 1, 2],
                    "budget": {"epochs": 20},
                    "rungs": [{"epochs": 20, "seconds": None, "keep": None}],
                    "jobs": 3,
                    "memory_bytes": 3400000,
                    "seconds": 13.5,
                }
            ]
        }
    )

    dataset: DatasetRef
    model: str
    device: str
    cells: list[PlannedCell]
    skipped: list[Skipped]
    seeds: list[int]
    budget: StudyBudget
    rungs: list[dict[str, Any]] = Field(
        description="The stretches of the race, each with what a cell has used at its end (`epochs` or "
        "`seconds`) and how many cells go on (`keep`)."
    )
    jobs: int
    memory_bytes: int = Field(description="Of the cell that needs most.")
    seconds: float = Field(description="A rough estimate of all jobs one after the other.")


def study_views(session: Session, rows: Sequence[StudyRow]) -> list[StudyView]:
    """Studies' rows as the wire shows them."""
    standings = Studies(session).standings(rows)
    return [_view(row, *standing) for row, standing in zip(rows, standings, strict=True)]


def study_view(session: Session, row: StudyRow) -> StudyView:
    """A study's row as the wire shows it."""
    (view,) = study_views(session, [row])
    return view


def _view(row: StudyRow, progress: dict[str, Any], best: dict[str, Any] | None) -> StudyView:
    here = f"/v1/studies/{row.id}"
    return StudyView.model_validate(
        {
            **row.document,
            "grid": row.plan["grid"],
            "id": row.id,
            "state": row.state.value,
            "dataset": {"id": row.dataset_id, "name": row.dataset_name},
            "model": row.model,
            "device": row.device,
            "labels": row.labels,
            "cells": len(row.plan["cells"]),
            "skipped": row.plan["skipped"],
            "progress": progress,
            "best": best,
            "asked": None if row.is_over else row.asked,
            "problem": row.problem,
            "links": {"report": f"{here}/report", "jobs": f"/v1/jobs?study={row.id}"},
            "created_at": row.created_at,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
            "updated_at": row.updated_at,
        }
    )
