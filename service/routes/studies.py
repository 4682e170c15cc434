"""Studies: submit a comparison, follow it, cancel, resume, remove, and read its report."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from autoencoders.study import compose
from service import study_page
from service.answers import Asked, Listing, created, dump, fingerprint, holds, once, repeated, tag_of, tagged
from service.auth import Caller
from service.dependencies import After, House, IdempotencyKey, LabelFilter, Limit, Reader, Trainer
from service.json_route import JsonRoute
from service.page import DOCUMENT_OR_PAGE, page_answer, wants_html
from service.problems import responses
from service.routes.job_wire import StateName
from service.routes.study_submission import StudySubmission, estimate_study, prepare_study
from service.routes.study_wire import StudyDryRun, StudyRequest, StudyView, study_view, study_views
from store import JobState, Studies, StudyRow

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=JsonRoute)


@router.post(
    "",
    status_code=202,
    summary="Submit a study",
    response_model=StudyView,
    responses={**responses(409, 413, 422, 507), 200: {"description": "A dry run.", "model": StudyDryRun}},
)
def submit_study(
    body: StudyRequest,
    *,
    request: Request,
    house: House,
    caller: Trainer,
    dry_run: Annotated[bool, Query(description="Queue nothing: the cells and an estimate.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Compares specs on one dataset: a base job, a grid over any of its fields, seeds, one budget for all.

    It becomes jobs on the same queue; `links.report` says what they show, from the first one on.
    """
    if dry_run:
        return Response(dump(estimate_study(prepare_study(house, body))), 200, media_type="application/json")
    asked = Asked("POST /v1/studies", idempotency_key, fingerprint(body.model_dump_json(exclude_unset=True)))
    if (before := repeated(house.store, caller, asked)) is not None:
        return before
    submission = prepare_study(house, body)
    house.store.artifacts.check_room()
    return once(
        house.store,
        caller,
        asked,
        lambda session: _queue(session, submission, caller, request.state.request_id),
    )


@router.get("", summary="List the studies")
def list_studies(
    *,
    house: House,
    _: Reader,
    labels: LabelFilter,
    state: StateName | None = None,
    dataset: Annotated[str | None, Query(description="Its id or name.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> Listing[StudyView]:
    """Newest first."""
    with house.store.session() as session:
        page = Studies(session).page(limit=limit, after=after, state=state, dataset=dataset, labels=labels)
        return Listing(items=study_views(session, page.items), next=page.next)


@router.get("/{study}", summary="One study", response_model=StudyView, responses=responses(404))
def get_study(study: str, request: Request, house: House, _: Reader) -> Response:
    """State, progress, the cell that leads, and what was asked for; with an ETag."""
    with house.store.session() as session:
        return tagged(request, study_view(session, Studies(session).get(study)))


@router.post(
    "/{study}/cancel",
    status_code=202,
    summary="Cancel a study",
    response_model=StudyView,
    responses=responses(404, 409),
)
def cancel_study(study: str, house: House, _: Trainer) -> Response:
    """Ends all of its jobs; what they have shown by then stays in the report."""
    with house.store.transaction() as session:
        studies = Studies(session)
        row = studies.get(study)
        return _accepted(session, row if row.state is JobState.CANCELLED else studies.cancel(study))


@router.post(
    "/{study}/resume",
    status_code=202,
    summary="Resume a study",
    response_model=StudyView,
    responses=responses(404, 409),
)
def resume_study(study: str, house: House, _: Trainer) -> Response:
    """A failed or cancelled study goes on: its failed and cancelled jobs do, from their last checkpoints."""
    house.store.artifacts.check_room()
    with house.store.transaction() as session:
        return _accepted(session, Studies(session).resume(study))


@router.delete("/{study}", status_code=204, summary="Remove a study", responses=responses(404, 409))
def remove_study(study: str, house: House, _: Trainer) -> None:
    """The study and its jobs with their files, when it is over; the models that it kept stay."""
    with house.store.transaction() as session:
        Studies(session).remove(study)


@router.get(
    "/{study}/report",
    summary="What a study showed",
    response_class=Response,
    responses={
        **responses(404),
        200: DOCUMENT_OR_PAGE,
    },
)
def study_report(study: str, request: Request, house: House, _: Reader) -> Response:
    """Every cell by its mean held-out error with an interval over seeds, ties, stuck cells and why, costs.

    `recommended` is the body of a job, ready to submit. While the study runs, `complete` is false.
    """
    html = wants_html(request.headers.get("accept", ""))
    with house.store.session() as session:
        studies = Studies(session)
        row = studies.get(study)
        view = study_view(session, row) if html else None
        report = _report(row, studies.outcomes(study))
    content = orjson.dumps(report)
    tag = tag_of(b"html" + content if html else content)
    headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "private, no-cache"}
    if holds(request, tag):
        return Response(status_code=304, headers=headers)
    if view is not None:
        address = str(request.base_url).rstrip("/")
        page = study_page.render(view.model_dump(mode="json"), orjson.loads(content), address=address)
        return page_answer(page, headers)
    return Response(content, media_type="application/json", headers=headers)


def _report(row: StudyRow, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    known = (outcome["baselines"] for outcome in outcomes if outcome.get("baselines"))
    found = compose(row.document, row.plan, outcomes, baselines=next(known, {}), state=row.state.value)
    return {"study": row.id, **found}


def _queue(session: Session, submission: StudySubmission, caller: Caller, request_id: str) -> Response:
    row = Studies(session).create(
        document=submission.document,
        plan=submission.plan,
        dataset_id=submission.dataset.id,
        dataset_name=submission.dataset.name,
        model=submission.model,
        labels=submission.document["labels"],
        device=submission.device,
        owner=caller.key,
        request_id=request_id,
    )
    return _accepted(session, row)


def _accepted(session: Session, row: StudyRow) -> Response:
    return created(study_view(session, row), 202, f"/v1/studies/{row.id}")
