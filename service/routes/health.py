"""Whether the gateway lives, whether it can work, and its numbers."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from service import metrics
from service.dependencies import House
from store import StoreError, Workers

router = APIRouter(tags=["health"])
_NEEDED = ("database", "artifacts")


class Live(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"live": True}]})

    live: bool = True


class Ready(BaseModel):
    """Whether requests can be answered, and what is wrong with each part (null: nothing)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ready": True,
                    "parts": {
                        "database": None,
                        "artifacts": None,
                        "broker": "the broker does not answer: Connection refused",
                        "workers": "no worker is alive; jobs wait until one is",
                    },
                }
            ]
        }
    )

    ready: bool
    parts: dict[str, str | None] = Field(description="database, artifacts, broker, workers.")


@router.get("/health/live", summary="Does the process answer?")
async def live() -> Live:
    """Answered without touching anything else."""
    return Live()


@router.get(
    "/health/ready",
    summary="Can it work?",
    responses={503: {"description": "The database or the artifact store is away.", "model": Ready}},
)
def ready(house: House, response: Response) -> Ready:
    """200 also without a broker or a worker: jobs are accepted then, and wait."""
    parts = house.store.parts()
    parts["workers"] = _workers(house)
    can_work = all(parts[part] is None for part in _NEEDED)
    response.status_code = 200 if can_work else 503
    response.headers["Cache-Control"] = "no-store"
    return Ready(ready=can_work, parts=parts)


@router.get(
    "/metrics",
    summary="Prometheus series",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def prometheus(house: House) -> Response:
    """The series of the gateway, of all its processes on this port."""
    return Response(house.siblings.render(), media_type=metrics.CONTENT_TYPE)


def _workers(house: House) -> str | None:
    try:
        with house.store.session() as session:
            living = Workers(session).living()
    except StoreError:
        return "unknown while the database is away"
    return None if living else "no worker is alive; jobs wait until one is"
