"""Datasets as the wire shows them, and what an upload's query means."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import PurePath
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from autoencoders.data.formats import MEDIA_TYPES
from autoencoders.data.options import ReadOptions
from service.errors import FieldRefused
from store import DatasetRow

_BINARY = {"schema": {"type": "string", "format": "binary"}}
UPLOAD_BODY = {
    "required": True,
    "description": "The file's bytes, or a form with one file, or what to make instead.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "sample": {"anyOf": [{"type": "string"}, {"type": "object"}]},
                    "url": {"type": "string"},
                },
                "additionalProperties": False,
            },
            "examples": {
                "sample": {"value": {"sample": "digits"}},
                "parameters": {"value": {"sample": {"name": "curves", "rows": 1000}}},
            },
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "string", "format": "binary"}},
                "required": ["file"],
            }
        },
        **dict.fromkeys((*MEDIA_TYPES, "application/zip", "application/octet-stream"), _BINARY),
    },
}

_COMMON: dict[str, Any] = {
    "id": "ds_06a5kx2m3v0000w8q4e6r2t9y1",
    "name": "digits",
    "dtype": "float32",
    "shape": [8, 8],
    "rows": 1797,
    "training_rows": 1617,
    "held_out_rows": 180,
    "bytes": 460032,
    "sha256": "0" * 64,
    "labels": {"team": "vision"},
    "created_at": "2026-01-02T03:04:05Z",
}
_STATISTICS: dict[str, Any] = {"minimum": 0.0, "maximum": 1.0, "mean": 0.305, "std": 0.376}


class StatisticsView(BaseModel):
    """Extremes, mean and standard deviation over all rows."""

    minimum: float
    maximum: float
    mean: float
    std: float


class ColumnView(BaseModel):
    """A column of a table."""

    name: str
    role: Literal["use", "id", "ignore", "group", "time"]
    missing: int = 0
    statistics: StatisticsView | None = None


class DatasetSummary(BaseModel):
    """A dataset in a list."""

    model_config = ConfigDict(json_schema_extra={"examples": [_COMMON]})

    id: str
    name: str
    dtype: Literal["float32", "uint8"]
    shape: list[int]
    rows: int
    training_rows: int
    held_out_rows: int
    bytes: int
    sha256: str
    labels: dict[str, str]
    created_at: datetime


class DatasetView(DatasetSummary):
    """A dataset: what is in it, how it is split, and its first rows."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_COMMON,
                    "columns": None,
                    "statistics": _STATISTICS,
                    "holdout": {"fraction": 0.1, "seed": 0},
                    "missing": "refuse",
                    "preview": [[0.0, 0.0, 0.3125, 0.8125]],
                }
            ]
        }
    )

    columns: list[ColumnView] | None
    statistics: StatisticsView
    holdout: dict[str, Any]
    missing: str
    preview: list[list[float]]


def summary_of(row: DatasetRow) -> DatasetSummary:
    """A row in a list."""
    return DatasetSummary.model_validate(_fields(row))


def view_of(row: DatasetRow) -> DatasetView:
    """A row in full."""
    return DatasetView.model_validate(_fields(row))


def _fields(row: DatasetRow) -> dict[str, Any]:
    own = {
        "id": row.id,
        "name": row.name,
        "sha256": row.sha256,
        "bytes": row.bytes,
        "labels": row.labels,
        "created_at": row.created_at,
    }
    return {**row.manifest, **own}


def default_name(filename: str | None) -> str | None:
    """A name made of a file's: `My table.csv` becomes `My-table`; None where nothing of it can be one."""
    if not filename:
        return None
    stem = PurePath(filename.replace("\\", "/")).name.partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-")[:64]
    return name or None


def read_options(
    name: str, roles: dict[str, list[str] | None], missing: str, holdout: str | None
) -> ReadOptions:
    """The reader's options from the query.

    Raises:
        FieldRefused: a column with two roles, a holdout that is no JSON, or words that the reader lacks.
    """
    given: dict[str, str] = {}
    for role, columns in roles.items():
        for column in (part.strip() for text in columns or [] for part in text.split(",")):
            if not column:
                continue
            if column in given:
                raise FieldRefused(
                    [(("query", role), f"{column!r} is {given[column]} already; a column has one role")]
                )
            given[column] = role
    asked: dict[str, Any] = {"name": name, "roles": given, "missing": missing}
    if holdout is not None:
        try:
            asked["holdout"] = orjson.loads(holdout)
        except orjson.JSONDecodeError as error:
            raise FieldRefused([(("query", "holdout"), f"is not JSON: {error}")]) from None
    try:
        return ReadOptions.model_validate(asked)
    except ValidationError as error:
        found = [(("query", *item["loc"]), item["msg"]) for item in error.errors()]
        raise FieldRefused(found) from None
