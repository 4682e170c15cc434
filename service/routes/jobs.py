"""Jobs: submit, list, get, cancel, stop, resume, remove."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from service.answers import Asked, Listing, created, dump, fingerprint, once, repeated, tagged
from service.auth import Caller
from service.dependencies import After, House, IdempotencyKey, LabelFilter, Limit, Reader, Trainer
from service.json_route import JsonRoute
from service.problems import responses
from service.routes.job_submission import Submission, estimate, prepare
from service.routes.job_wire import DryRun, JobRequest, JobView, StateName, view_of
from store import JobRow, Jobs, JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=JsonRoute)


@router.post(
    "",
    status_code=202,
    summary="Submit a job",
    response_model=JobView,
    responses={**responses(409, 413, 422, 507), 200: {"description": "A dry run.", "model": DryRun}},
)
def submit_job(
    body: JobRequest,
    *,
    request: Request,
    house: House,
    caller: Trainer,
    dry_run: Annotated[bool, Query(description="Queue nothing: the full spec and an estimate.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queues a training; the smallest body is `{"dataset": "digits", "code": 8}`."""
    if dry_run:
        return Response(dump(estimate(prepare(house, body))), 200, media_type="application/json")
    asked = Asked("POST /v1/jobs", idempotency_key, fingerprint(body.model_dump_json(exclude_unset=True)))
    if (before := repeated(house.store, caller, asked)) is not None:
        return before
    submission = prepare(house, body)
    house.store.artifacts.check_room()
    response = once(
        house.store,
        caller,
        asked,
        lambda session: _queue(session, submission, caller, request.state.request_id),
    )
    house.store.queue.hint(submission.device)
    return response


@router.get("", summary="List the jobs")
def list_jobs(
    *,
    house: House,
    _: Reader,
    labels: LabelFilter,
    state: StateName | None = None,
    dataset: Annotated[str | None, Query(description="Its id or name.")] = None,
    model: str | None = None,
    study: Annotated[str | None, Query(description="Its id: the jobs that it is made of.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> Listing[JobView]:
    """Newest first."""
    with house.store.session() as session:
        page = Jobs(session).page(
            limit=limit, after=after, state=state, dataset=dataset, model=model, study=study, labels=labels
        )
        return Listing(items=[view_of(session, row) for row in page.items], next=page.next)


@router.get("/{job}", summary="One job", response_model=JobView, responses=responses(404))
def get_job(job: str, request: Request, house: House, _: Reader) -> Response:
    """State, progress, metrics, and the full spec; with an ETag."""
    with house.store.session() as session:
        return tagged(request, view_of(session, Jobs(session).get(job)))


@router.post(
    "/{job}/cancel",
    status_code=202,
    summary="Cancel a job",
    response_model=JobView,
    responses=responses(404, 409),
)
def cancel_job(job: str, house: House, _: Trainer) -> Response:
    """Ends it and publishes nothing; `cancelled` is said once its process has stopped."""
    with house.store.transaction() as session:
        jobs = Jobs(session)
        if jobs.get(job).state is JobState.CANCELLED:
            return _accepted(session, jobs.get(job))
        return _accepted(session, jobs.cancel(job))


@router.post(
    "/{job}/stop",
    status_code=202,
    summary="Stop a job",
    response_model=JobView,
    responses=responses(404, 409),
)
def stop_job(job: str, house: House, _: Trainer) -> Response:
    """Ends it after this step and publishes the best weights."""
    with house.store.transaction() as session:
        return _accepted(session, Jobs(session).stop(job))


@router.post(
    "/{job}/resume",
    status_code=202,
    summary="Resume a job",
    response_model=JobView,
    responses=responses(404, 409),
)
def resume_job(job: str, house: House, _: Trainer) -> Response:
    """A failed or cancelled job goes on from its last checkpoint."""
    house.store.artifacts.check_room()
    with house.store.transaction() as session:
        row = Jobs(session).resume(job)
        response = _accepted(session, row)
    house.store.queue.hint(row.device)
    return response


@router.delete("/{job}", status_code=204, summary="Remove a job", responses=responses(404, 409))
def remove_job(job: str, house: House, _: Trainer) -> None:
    """The row and its files, when it is over; its model stays."""
    with house.store.transaction() as session:
        Jobs(session).remove(job)


def _queue(session: Session, submission: Submission, caller: Caller, request_id: str) -> Response:
    row = Jobs(session).create(
        kind="train",
        spec=submission.document,
        dataset_id=submission.dataset.id,
        dataset_name=submission.dataset.name,
        model=submission.model,
        labels=submission.request.labels,
        device=submission.device,
        owner=caller.key,
        request_id=request_id,
        epochs=submission.request.training.epochs,
    )
    return _accepted(session, row)


def _accepted(session: Session, row: JobRow) -> Response:
    return created(view_of(session, row), 202, f"/v1/jobs/{row.id}")
