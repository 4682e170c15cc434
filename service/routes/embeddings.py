"""Embeddings of a whole dataset: a job that encodes it, and the file that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.orm import Session

from autoencoders.bundle import space_of
from autoencoders.data.manifest import Facts, Manifest
from service.answers import Asked, created, fingerprint, once, repeated
from service.auth import Caller
from service.dependencies import House, IdempotencyKey, Reader, Trainer
from service.errors import FieldRefused, PreconditionFailed
from service.gateway import Gateway
from service.json_route import JsonRoute
from service.problems import responses
from service.ranges import file_answer
from service.routes.job_submission import dataset_of, device_for
from service.routes.job_wire import JobView, view_of
from service.routes.models import Reference
from store import DatasetRow, Jobs, JobState, ModelRow, Models

router = APIRouter(route_class=JsonRoute)
Output = Literal["code", "score", "reconstruction"]
_MEDIA = {"parquet": "application/vnd.apache.parquet", "npy": "application/x-npy"}
_SHOWN = 10


class EmbeddingRequest(BaseModel):
    """The body of an embed job: which dataset, and what is to be made of its rows."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"dataset": "digits"},
                {"dataset": "digits", "format": "npy", "labels": {"team": "search"}},
                {"dataset": "digits", "outputs": ["code", "score"]},
            ]
        },
    )

    dataset: Annotated[str, Field(min_length=1, max_length=64, description="Its id or name.")]
    format: Literal["parquet", "npy"] = Field(
        "parquet", description="Parquet has a table's id columns beside the codes; npy is one bare array."
    )
    outputs: list[Output] = Field(
        ["code"],
        min_length=1,
        max_length=3,
        description="`score` is the reconstruction error with its percentile; npy holds one output.",
    )
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="On which kind of worker.")
    labels: dict[str, str] = Field(default={}, max_length=64)

    @model_validator(mode="after")
    def _one_array_in_npy(self) -> EmbeddingRequest:
        if len(set(self.outputs)) < len(self.outputs):
            raise ValueError("outputs: each may be asked for once")
        if self.format == "npy" and len(self.outputs) > 1:
            raise ValueError("outputs: npy holds one array; ask for one output, or for parquet")
        return self


@dataclass(frozen=True)
class _Submission:
    """An embed job that may be queued."""

    request: EmbeddingRequest
    dataset: DatasetRow
    model: ModelRow
    rows: int
    device: str

    @property
    def document(self) -> dict[str, Any]:
        """What the worker reads: the body, and beside it the exact version and its space."""
        return {
            **self.request.model_dump(mode="json"),
            "model": f"{self.model.name}@{self.model.version}",
            "space": space_of(self.model.manifest),
        }


@router.post(
    "/v1/models/{name}/embeddings",
    tags=["inference"],
    status_code=202,
    summary="Encode a whole dataset",
    response_model=JobView,
    responses=responses(404, 409, 413, 422, 507),
)
def embed_dataset(
    name: Reference,
    body: EmbeddingRequest,
    *,
    request: Request,
    house: House,
    caller: Trainer,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queues a job that writes one file, of data larger than memory too; its version is settled now."""
    asked = Asked(f"POST /v1/models/{name}/embeddings", idempotency_key, fingerprint(body.model_dump_json()))
    if (before := repeated(house.store, caller, asked)) is not None:
        return before
    submission = _prepare(house, name, body)
    house.store.artifacts.check_room()
    response = once(
        house.store,
        caller,
        asked,
        lambda session: _queue(session, submission, caller, request.state.request_id),
    )
    house.store.queue.hint(submission.device)
    return response


@router.get(
    "/v1/jobs/{job}/embeddings",
    tags=["jobs"],
    summary="The file of an embed job",
    response_class=Response,
    responses={
        **responses(404, 409, 410, 416),
        200: {
            "content": {
                media: {"schema": {"type": "string", "format": "binary"}} for media in _MEDIA.values()
            }
        },
        206: {"description": "The bytes that `Range` asked for."},
        304: {"description": "The caller has it already."},
    },
)
def download_embeddings(job: str, request: Request, house: House, _: Reader) -> Response:
    """Streamed, with ETag and Range; the rows stand in the order of the upload."""
    with house.store.session() as session:
        row = Jobs(session).get(job)
    if row.kind != "embed":
        raise PreconditionFailed(f"{job} is no embed job: POST /v1/models/{{name}}/embeddings makes one")
    if row.state is not JobState.SUCCEEDED:
        raise PreconditionFailed(f"the job is {row.state}; its file comes when it has succeeded")
    form = str(row.spec["format"])
    filename = f"{row.dataset_name}.{row.model}-{row.model_version}.{form}"
    return file_answer(
        request,
        lambda: house.store.artifacts.open(f"jobs/{job}/embeddings.{form}"),
        size=int(row.metrics["bytes"]),
        tag=f'"{row.metrics["sha256"]}"',
        media_type=_MEDIA[form],
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )


# Readers of Parquet over HTTP ask for the size first, and then for the parts that they need.
router.head("/v1/jobs/{job}/embeddings", include_in_schema=False)(download_embeddings)


def _prepare(gateway: Gateway, name: str, request: EmbeddingRequest) -> _Submission:
    """Everything about it that can be known before it is queued.

    Raises:
        NotFound: there is no such model.
        FieldRefused: there is no such dataset, or its rows are not the model's.
    """
    with gateway.store.session() as session:
        model = Models(session).resolve(name)
    dataset = dataset_of(gateway, request.dataset)
    manifest = Manifest.model_validate(dataset.manifest)
    if misfit := _misfit(Facts.model_validate(model.manifest["facts"]), manifest.facts()):
        raise FieldRefused([(("dataset",), misfit)])
    return _Submission(request, dataset, model, manifest.uploaded_rows, device_for(gateway, request.device))


def _misfit(model: Facts, dataset: Facts) -> str | None:
    """Why a dataset's rows are none of the model's; None where they are, their columns in whatever order."""
    if dataset.shape not in (model.shape, (model.features,)):
        return f"its rows have the shape {list(dataset.shape)}, those of the model {list(model.shape)}"
    if model.columns is None or dataset.columns is None:
        return None
    missing = [name for name in model.columns if name not in dataset.columns]
    unknown = [name for name in dataset.columns if name not in model.columns]
    said = [
        f"{what} {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
        for what, names in (("it lacks the model's columns", missing), ("the model does not know", unknown))
        if names
    ]
    return "; ".join(said) or None


def _queue(session: Session, submission: _Submission, caller: Caller, request_id: str) -> Response:
    row = Jobs(session).create(
        kind="embed",
        spec=submission.document,
        dataset_id=submission.dataset.id,
        dataset_name=submission.dataset.name,
        model=submission.model.name,
        model_version=submission.model.version,
        labels=submission.request.labels,
        device=submission.device,
        owner=caller.key,
        request_id=request_id,
        rows=submission.rows,
    )
    return created(view_of(session, row), 202, f"/v1/jobs/{row.id}")
