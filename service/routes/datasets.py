"""Datasets: upload, list, preview, remove."""

from __future__ import annotations

from typing import Annotated, Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from autoencoders.data.formats import format_of_media_type
from autoencoders.data.options import ReadOptions
from autoencoders.data.samples import samples
from autoencoders.errors import DataRefused
from service import metrics, uploads
from service.answers import Listing, created, fingerprint, identity, kept, replayed, tagged
from service.auth import Caller
from service.dependencies import (
    After,
    House,
    IdempotencyKey,
    LabelFilter,
    Limit,
    Reader,
    Trainer,
    read_labels,
)
from service.errors import BodyTooLarge, FieldRefused, ParseFailed
from service.gateway import Gateway
from service.problems import responses
from service.receive import Received, receive
from service.routes.dataset_wire import (
    UPLOAD_BODY,
    DatasetSummary,
    DatasetView,
    default_name,
    read_options,
    summary_of,
    view_of,
)
from store import Datasets, Idempotency, ids

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
_LARGEST_JSON = 1024 * 1024
_ROUTE = "POST /v1/datasets"


class Source(BaseModel):
    """A dataset that is not uploaded: a built-in sample, or a URL that the operator allows."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"sample": "digits"}, {"sample": {"name": "curves", "rows": 1000}}]},
    )

    sample: str | dict[str, Any] | None = None
    url: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Source:
        if (self.sample is None) == (self.url is None):
            raise ValueError('give either "sample" or "url"')
        return self


class _Asked(BaseModel):
    """What the query of an upload says."""

    name: str | None
    options: ReadOptions
    labels: dict[str, str]


def _asked(
    *,
    name: Annotated[
        str | None, Query(description="Several datasets may share a name; it means the newest.")
    ] = None,
    use: Annotated[list[str] | None, Query(description="Columns to train on: `a,b`; repeatable.")] = None,
    ignore: Annotated[list[str] | None, Query(description="Columns to leave out.")] = None,
    id_: Annotated[
        list[str] | None, Query(alias="id", description="Columns kept beside the codes, never trained on.")
    ] = None,
    group: Annotated[list[str] | None, Query(description="The column whose values stay together.")] = None,
    time: Annotated[list[str] | None, Query(description="The column of times, for `holdout.after`.")] = None,
    missing: Annotated[str, Query(description="Empty cells: `refuse` or `mean`.")] = "refuse",
    holdout: Annotated[
        str | None, Query(description='JSON: `{"fraction": 0.1, "seed": 0}` (the default), …')
    ] = None,
    labels: Annotated[str | None, Query(description='JSON: `{"team": "vision"}`.')] = None,
    label: Annotated[list[str] | None, Query(description="`key:value`; repeatable.")] = None,
) -> _Asked:
    roles = {"use": use, "ignore": ignore, "id": id_, "group": group, "time": time}
    options = read_options(name or "", roles, missing, holdout)
    return _Asked(name=name, options=options, labels={**_json_labels(labels), **read_labels(label or [])})


@router.post(
    "",
    status_code=201,
    summary="Upload a dataset",
    response_model=DatasetView,
    responses=responses(409, 413, 415, 422, 507),
    openapi_extra={"requestBody": UPLOAD_BODY},
)
async def upload_dataset(
    request: Request,
    house: House,
    caller: Trainer,
    asked: Annotated[_Asked, Depends(_asked)],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Streams the body to a file; a bounded process checks it and writes the canonical form."""
    return await _Upload(request, house, caller, asked, idempotency_key).make()


@router.get("", summary="List the datasets")
def list_datasets(
    house: House,
    _: Reader,
    labels: LabelFilter,
    name: str | None = None,
    limit: Limit = 50,
    after: After = None,
) -> Listing[DatasetSummary]:
    """Newest first."""
    with house.store.session() as session:
        page = Datasets(session).page(limit=limit, after=after, name=name, labels=labels)
    return Listing(items=[summary_of(row) for row in page.items], next=page.next)


@router.get("/{dataset}", summary="One dataset", response_model=DatasetView, responses=responses(404))
def get_dataset(dataset: str, request: Request, house: House, _: Reader) -> Response:
    """Schema, counts, statistics and a preview; by id, or by name (the newest of it)."""
    with house.store.session() as session:
        return tagged(request, view_of(Datasets(session).get(dataset)))


@router.delete("/{dataset}", status_code=204, summary="Remove a dataset", responses=responses(404, 409))
def remove_dataset(dataset: str, house: House, _: Trainer) -> None:
    """Refused while a job that is queued or running needs it."""
    with house.store.transaction() as session:
        Datasets(session).remove(dataset)


class _Upload:
    """One upload from its first byte to its row."""

    def __init__(
        self, request: Request, gateway: Gateway, caller: Caller, asked: _Asked, key: str | None
    ) -> None:
        self.request, self.gateway, self.caller, self.asked, self.key = request, gateway, caller, asked, key

    async def make(self) -> Response:
        if self.asked.name is not None:
            ids.check_name("dataset's name", self.asked.name)
        self.gateway.store.artifacts.check_room(self._declared_bytes())
        try:
            response = await self._from_json() if self._is_json() else await self._from_bytes()
        except (DataRefused, ParseFailed, FieldRefused):
            metrics.uploads.labels("refused").inc()
            raise
        metrics.uploads.labels("created").inc()
        return response

    def _is_json(self) -> bool:
        media = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        return media == "application/json"

    def _declared_bytes(self) -> int:
        declared = self.request.headers.get("content-length", "")
        return int(declared) if declared.isdecimal() else 0

    async def _from_json(self) -> Response:
        body = bytearray()
        async for chunk in self.request.stream():
            body += chunk
            if len(body) > _LARGEST_JSON:
                bulk = (
                    "JSON names a sample or a URL; rows come as npy, CSV, Parquet, Arrow or a zip of images."
                )
                raise BodyTooLarge(_LARGEST_JSON, len(body), counted=True, bulk=bulk)
        try:
            source = Source.model_validate(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise FieldRefused([((), f"the body is not JSON: {error}")]) from None
        return await anyio.to_thread.run_sync(self._finish_source, source, bytes(body))

    async def _from_bytes(self) -> Response:
        with uploads.workplace(self.gateway) as (identity_, folder):
            received = await receive(self.request, folder / "upload")
            return await anyio.to_thread.run_sync(self._finish_bytes, identity_, folder, received)

    def _finish_bytes(self, dataset: str, folder: Any, received: Received) -> Response:
        name = self.asked.name or default_name(received.filename) or dataset
        asked = {"source": str(received.path), "format": format_of_media_type(received.content_type)}
        return self._once(received.sha256, dataset, folder, name, asked)

    def _finish_source(self, source: Source, body: bytes) -> Response:
        with uploads.workplace(self.gateway) as (dataset, folder):
            if source.url is not None:
                path = folder / "upload"
                name = self.asked.name or default_name(source.url.rpartition("/")[2]) or dataset

                def bring() -> dict[str, Any]:
                    uploads.fetch(self.gateway, source.url or "", path)
                    return {"source": str(path), "format": None}

                return self._once(fingerprint(body), dataset, folder, name, bring)
            choice = _sample(source.sample)
            return self._once(
                fingerprint(body), dataset, folder, self.asked.name or str(choice["name"]), {"sample": choice}
            )

    def _once(self, body_sha256: str, dataset: str, folder: Any, name: str, asked: Any) -> Response:
        """Parse and keep, unless the same was answered before; a long parse holds no transaction."""
        sha256 = fingerprint(body_sha256, self.request.url.query)
        if self.key is not None:
            with self.gateway.store.transaction() as session:
                before = Idempotency(session).begin(
                    self.key,
                    identity(self.caller),
                    _ROUTE,
                    sha256,
                    in_flight_seconds=self.gateway.settings.parse_seconds + 60,
                )
            if before is not None:
                return replayed(before)
        try:
            request = asked() if callable(asked) else asked
            options = self.asked.options.model_copy(update={"name": name})
            manifest = uploads.parse(self.gateway, request, folder, options)
            row = uploads.keep(
                self.gateway,
                dataset,
                folder,
                manifest,
                name=name,
                labels=self.asked.labels,
                owner=self.caller.key,
            )
        except BaseException:
            self._idempotently(lambda answers, key: answers.abandon(key, identity(self.caller)))
            raise
        response = created(view_of(row), 201, f"/v1/datasets/{row.id}")
        self._idempotently(
            lambda answers, key: answers.complete(
                key, identity(self.caller), 201, kept(response), bytes(response.body)
            )
        )
        return response

    def _idempotently(self, act: Any) -> None:
        if self.key is not None:
            with self.gateway.store.transaction() as session:
                act(Idempotency(session), self.key)


def _sample(asked: str | dict[str, Any] | None) -> dict[str, Any]:
    name = asked.get("name") if isinstance(asked, dict) else asked
    if name not in samples:
        raise FieldRefused(
            [(("sample",), f"there is no sample {name!r}; there are {', '.join(samples.names())}")]
        )
    try:
        return samples.choose(asked).model_dump(mode="json")
    except ValidationError as error:
        found = [(("sample", *item["loc"]), item["msg"]) for item in error.errors()]
        raise FieldRefused(found) from None


def _json_labels(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    if not text.lstrip().startswith("{"):
        return read_labels(text.split(","), "labels")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FieldRefused([(("query", "labels"), f"is not JSON: {error}")]) from None
    if not all(isinstance(value, str) for value in document.values()):
        raise FieldRefused([(("query", "labels"), "must be {key: text}")])
    return dict(document)
