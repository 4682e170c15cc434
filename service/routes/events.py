"""What a job tells: its events, as a stream or as pages, and its report."""

from __future__ import annotations

from typing import Annotated, Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from service.dependencies import House, Reader
from service.errors import FieldRefused, PreconditionFailed
from service.page import DOCUMENT_OR_PAGE, page_answer, wants_html
from service.problems import responses
from service.report_page import render
from service.stream import HEADERS, Told
from store import ArtifactMissing, Jobs, JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_STREAM = "text/event-stream"
_EVENT: dict[str, Any] = {"id": 1, "type": "state", "data": {"state": "queued"}, "at": "2026-01-02T03:04:05Z"}


class EventView(BaseModel):
    """An event of a job."""

    id: int = Field(description="Its number within the job: 1, 2, 3 … without a gap.")
    type: str = Field(
        description="state, init, diagnosis, step, epoch, rows, checkpoint, warning, log or done."
    )
    data: dict[str, Any]
    at: str


class EventPage(BaseModel):
    """Some of a job's events, oldest first; `next` is the `after` of the page behind it, null at the end."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_EVENT], "next": None}]})

    items: list[EventView]
    next: int | None


@router.get(
    "/{job}/events",
    summary="Follow a job, or read what happened",
    response_model=EventPage,
    responses={
        **responses(404, 422, 429),
        200: {"content": {_STREAM: {"schema": {"type": "string"}}}},
        204: {"description": "The job is over and this client has seen everything."},
    },
)
async def job_events(
    job: str,
    *,
    house: House,
    caller: Reader,
    after: Annotated[int, Query(ge=0, description="The number of the last event seen.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
    accept: Annotated[str | None, Header()] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """`Accept: text/event-stream` follows it until its last event; `Last-Event-ID` goes on without loss."""

    def look() -> tuple[bool, int]:
        with house.store.session() as session:
            row = Jobs(session).get(job)
            return row.is_over, row.events

    over, newest = await anyio.to_thread.run_sync(look)
    if _STREAM not in (accept or ""):
        return await _page(house, job, after, limit)
    seen = max(after, _number(last_event_id))
    if over and seen >= newest:
        return Response(status_code=204, headers=HEADERS)
    house.tailer.refuse_too_many(caller.key)
    frames = house.tailer.follow(job, seen, caller.key, lambda: look()[0])
    return StreamingResponse(frames, media_type=_STREAM, headers=HEADERS)


@router.get(
    "/{job}/report",
    summary="What a training showed",
    response_class=Response,
    responses={
        **responses(404, 409, 410),
        200: DOCUMENT_OR_PAGE,
    },
)
def job_report(job: str, request: Request, house: House, _: Reader) -> Response:
    """Held-out error per case and feature, curves, reconstructions, the code map, the worst rows."""
    with house.store.session() as session:
        row = Jobs(session).get(job)
    try:
        document = house.store.artifacts.read(f"jobs/{job}/report.json")
    except ArtifactMissing:
        if row.state is not JobState.SUCCEEDED:
            raise PreconditionFailed(
                f"the job is {row.state}; its report comes when it has succeeded"
            ) from None
        raise
    if wants_html(request.headers.get("accept", "")):
        return page_answer(
            render(row.id, row.model or row.dataset_name, row.model_version, orjson.loads(document))
        )
    return Response(document, media_type="application/json", headers={"Vary": "Accept"})


async def _page(house: House, job: str, after: int, limit: int) -> Response:
    found = await anyio.to_thread.run_sync(house.tailer.read, job, after, limit + 1)
    page = found[:limit]
    last = page[-1].number if len(found) > limit else None
    document = {"items": [_view(event) for event in page], "next": last}
    return Response(orjson.dumps(document), media_type="application/json")


def _view(event: Told) -> dict[str, Any]:
    return {"id": event.number, "type": event.type, "data": event.data, "at": event.at}


def _number(last_event_id: str | None) -> int:
    if last_event_id is None or not last_event_id.strip():
        return 0
    if not (last_event_id.isascii() and last_event_id.strip().isdecimal() and len(last_event_id) < 18):
        raise FieldRefused([(("header", "last-event-id"), "must be the number of an event")])
    return int(last_event_id)
