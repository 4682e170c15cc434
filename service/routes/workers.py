"""GET /v1/workers: who is working."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.dependencies import House, Reader
from store import Workers

router = APIRouter(prefix="/v1/workers", tags=["workers"])

_EXAMPLE: dict[str, Any] = {
    "id": "worker-1",
    "host": "node-7",
    "pid": 4242,
    "device": "cpu",
    "state": "busy",
    "job": "job_06a5kx2m3v0000w8q4e6r2t9y1",
    "version": "0.1.0",
    "seen": "2026-01-02T03:04:05Z",
}


class Worker(BaseModel):
    """A living worker."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    host: str
    pid: int = Field(description="Its main process, from which the job's own process descends.")
    device: str
    state: Literal["idle", "busy"]
    job: str | None
    version: str
    seen: datetime


class WorkerList(BaseModel):
    """The living workers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_EXAMPLE]}]})

    items: list[Worker]


@router.get("", summary="The living workers")
def list_workers(house: House, _: Reader) -> WorkerList:
    """Those heard of within the last half minute."""
    with house.store.session() as session:
        living = Workers(session).living()
    return WorkerList(
        items=[
            Worker.model_validate(
                {
                    "id": row.id,
                    "host": row.host,
                    "pid": row.pid,
                    "device": row.device,
                    "state": row.state,
                    "job": row.job_id,
                    "version": row.version,
                    "seen": row.seen_at,
                }
            )
            for row in living
        ]
    )
