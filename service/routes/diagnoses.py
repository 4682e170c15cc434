"""POST /v1/diagnoses: what would this initialisation do, before any training."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from service import metrics
from service.answers import dump
from service.children import Leash
from service.dependencies import House, Trainer
from service.diagnosing import diagnose
from service.errors import Busy, ChildFailed
from service.gateway import Gateway
from service.json_route import JsonRoute
from service.problems import responses
from service.routes.diagnosis_wire import Diagnosis
from service.routes.job_submission import prepare
from service.routes.job_wire import JobRequest
from service.stream import end

router = APIRouter(prefix="/v1/diagnoses", tags=["diagnoses"], route_class=JsonRoute)


@router.post("", summary="Diagnose a job", response_model=Diagnosis, responses=responses(413, 422, 503))
async def diagnose_job(body: JobRequest, request: Request, house: House, _: Trainer) -> Response:
    """Takes the body of a job, queues nothing, and answers within a minute: what its initialisation does.

    Signal and gradient of every layer before any training, and a forecast of the job with its own optimizer
    and length: will it learn, and if not, why, and what to choose instead.
    """
    if not house.waiting.available_tokens:
        metrics.diagnoses.labels("busy").inc()
        raise Busy(
            f"{house.settings.diagnose_processes} diagnoses are being made and as many wait; try again"
        )
    leash = Leash()
    watching = asyncio.create_task(_watch(request, leash))
    try:
        said = await anyio.to_thread.run_sync(_diagnosis_of, house, body, leash, limiter=house.waiting)
    except ChildFailed as failure:
        if failure.why == "left":
            raise ClientDisconnect from None
        raise
    finally:
        await end(watching)
    return Response(dump(Diagnosis.model_validate(said)), media_type="application/json")


def _diagnosis_of(house: Gateway, body: JobRequest, leash: Leash) -> dict[str, Any]:
    return diagnose(house, prepare(house, body), leash)


async def _watch(request: Request, leash: Leash) -> None:
    """A client that goes away takes its child process along."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    # Ending it waits for a lock that its start holds: not on the event loop.
    await asyncio.to_thread(leash.cut)
