"""Thresholds: from which score on a version of a model calls a row an anomaly."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from service.dependencies import House, Reader, Trainer
from service.json_route import JsonRoute
from service.problems import responses
from service.routes.models import Reference
from service.serving import thresholds
from store import ModelRow, Models, NotFound

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=JsonRoute)
_VIEW: dict[str, Any] = {
    "model": "digits-code",
    "version": 3,
    "false_alarm_rate": 0.05,
    "threshold": 11.2,
    "interval": [9.7, 14.1],
    "confidence": 0.958,
    "held_out_rows": 180,
}


class FalseAlarms(BaseModel):
    """How many ordinary rows may be called anomalies."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"false_alarm_rate": 0.01}]})

    false_alarm_rate: Annotated[
        float, Field(gt=0, le=0.5, description="The share of ordinary rows above the threshold.")
    ]


class ThresholdView(BaseModel):
    """A version's threshold and how well its held-out rows determine it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VIEW]})

    model: str
    version: int
    false_alarm_rate: float
    threshold: float = Field(description="A row whose score is greater is an anomaly.")
    interval: list[float] = Field(
        min_length=2, max_length=2, description="Two of the held-out scores, between which the quantile is."
    )
    confidence: float = Field(
        description="Of the interval: 0.95 at least, less where the rows are too few for that."
    )
    held_out_rows: int = Field(description="How many scores it was found from.")


@router.put(
    "/{name}/threshold",
    summary="Set the threshold",
    response_model=ThresholdView,
    responses=responses(404, 410, 422),
)
def set_threshold(name: Reference, body: FalseAlarms, house: House, _: Trainer) -> ThresholdView:
    """From the held-out scores of the version that the name means; its score answers then say `anomaly`."""
    with house.store.session() as session:
        row = Models(session).resolve(name)
        scores = thresholds.held_out(house.store.artifacts.local_copy(row.artifact), row.manifest)
        version = f"{row.name}@{row.version}"
    chosen = thresholds.choose(scores, body.false_alarm_rate)
    kept = asdict(chosen) | {"interval": list(chosen.interval)}
    with house.store.transaction() as session:
        view = _view(Models(session).set_threshold(version, kept))
    house.engine.forget_names(view.model)
    return view


@router.get("/{name}/threshold", summary="Its threshold", responses=responses(404))
def get_threshold(name: Reference, house: House, _: Reader) -> ThresholdView:
    """Of the version that the name means now; 404 where none was set."""
    with house.store.session() as session:
        return _view(_with_threshold(session, name))


@router.delete("/{name}/threshold", status_code=204, summary="Remove the threshold", responses=responses(404))
def remove_threshold(name: Reference, house: House, _: Trainer) -> None:
    """Its score answers then say nothing of anomalies."""
    with house.store.transaction() as session:
        row = Models(session).set_threshold(_reference(_with_threshold(session, name)), None)
        bare = row.name
    house.engine.forget_names(bare)


def _with_threshold(session: Session, name: str) -> ModelRow:
    row = Models(session).resolve(name)
    if row.threshold is None:
        raise NotFound("threshold", _reference(row))
    return row


def _reference(row: ModelRow) -> str:
    return f"{row.name}@{row.version}"


def _view(row: ModelRow) -> ThresholdView:
    return ThresholdView(model=row.name, version=row.version, **(row.threshold or {}))
