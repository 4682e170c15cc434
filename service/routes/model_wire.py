"""Models as the wire shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from autoencoders.bundle import Inference, space_of
from store import ModelRow

_VIEW: dict[str, Any] = {
    "name": "digits-code",
    "version": 3,
    "current": True,
    "aliases": {"champion": 3},
    "spec": {"architecture": {"name": "dense", "code": {"name": "plain", "size": 8}}},
    "space": "sp_9f2c1d0e8b7a6f5e4d3c2b1a09f8e7d6",
    "weights_sha256": "0" * 64,
    "dataset_sha256": "1" * 64,
    "dataset": "ds_06a5kx2m3v0000w8q4e6r2t9y1",
    "job": "job_06a5kx2m3v0000w8q4e6r2t9y1",
    "shape": [8, 8],
    "columns": None,
    "code_size": 8,
    "parameters": 43224,
    "error": 2.1,
    "loss": 14.2,
    "explained_variance": 0.77,
    "baselines": {"mean": 9.1, "pca": 2.4},
    "threshold": None,
    "runtime": {
        "hourglass": "0.1.0",
        "torch": "2.13.0",
        "inference": {
            "runtime": "onnx",
            "threads": 1,
            "precision": "float32",
            "milliseconds": {
                "torch": {"1": 0.19, "64": 2.0, "1024": 31.0},
                "onnx": {"1": 0.08, "64": 1.3, "1024": 24.0},
            },
            "checked": {"code": 0.07, "reconstruction": 0.09},
        },
    },
    "labels": {"team": "vision"},
    "created_at": "2026-01-02T03:04:05Z",
}


class RuntimeView(BaseModel):
    """What made the model, by its version, and what computes it."""

    model_config = ConfigDict(extra="allow")

    inference: Inference | None = Field(
        None,
        description="What encoded fastest where the model was published, by measurement; null where it has "
        "no ONNX graphs, which PyTorch then serves.",
    )


class ModelView(BaseModel):
    """One version of a model."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VIEW]})

    name: str
    version: int
    current: bool = Field(description="Whether the bare name means this version.")
    aliases: dict[str, int] = Field(description="The name's aliases and the version that each means.")
    spec: dict[str, Any]
    space: str = Field(description="Two versions share it exactly when their codes are comparable.")
    weights_sha256: str | None
    dataset_sha256: str | None
    dataset: str | None
    job: str | None
    shape: list[int]
    columns: list[str] | None
    code_size: int | None
    parameters: int | None
    error: float | None = Field(description="Squared error on held-out rows, in scaled units.")
    loss: float | None
    explained_variance: float | None
    baselines: dict[str, float | None]
    threshold: float | None = Field(description="From which score on a row is an anomaly, where it is set.")
    runtime: RuntimeView
    labels: dict[str, str]
    created_at: datetime


class VersionNumber(BaseModel):
    """Which version is meant."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 3}]})

    version: int = Field(ge=1, le=2_000_000_000)


class Aliases(BaseModel):
    """The aliases of a name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"aliases": {"champion": 3}}]})

    aliases: dict[str, int]


def view_of(row: ModelRow, aliases: Mapping[str, int], current: int | None) -> ModelView:
    """A version's row as the wire shows it."""
    manifest = row.manifest
    facts = manifest.get("facts") or {}
    metrics = manifest.get("metrics") or {}
    columns = facts.get("columns")
    return ModelView(
        name=row.name,
        version=row.version,
        current=current == row.version,
        aliases=dict(aliases),
        spec=manifest.get("spec") or {},
        space=space_of(manifest),
        weights_sha256=row.weights_sha256,
        dataset_sha256=manifest.get("dataset_sha256"),
        dataset=row.dataset_id,
        job=row.job_id,
        shape=list(facts.get("shape") or []),
        columns=None if columns is None else list(columns),
        code_size=manifest.get("code_size"),
        parameters=manifest.get("parameters"),
        error=row.error,
        loss=metrics.get("loss"),
        explained_variance=metrics.get("explained_variance"),
        baselines=manifest.get("baselines") or {},
        threshold=None if row.threshold is None else row.threshold.get("threshold"),
        runtime=RuntimeView.model_validate(
            {**(manifest.get("versions") or {}), "inference": manifest.get("inference")}
        ),
        labels=row.labels,
        created_at=row.created_at,
    )
