"""One table: which error is which HTTP status, and how RFC 9457 says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from autoencoders.errors import BundleDamaged, DataRefused, SpecRefused, UnknownWord
from service import errors as door
from service.serving import errors as serving
from store import errors as memory

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:hourglass:problem:"


@dataclass(frozen=True)
class Kind:
    """How one class of error is told: its status, the end of its type, its title, and when to come back."""

    status: int
    slug: str
    title: str
    retry_after_seconds: int | None = None


KINDS: dict[type[Exception], Kind] = {
    door.NotAuthenticated: Kind(401, "not-authenticated", "A key is needed"),
    door.NotAllowed: Kind(403, "not-allowed", "The key lacks the scope"),
    door.ForeignRequest: Kind(403, "foreign-request", "This Host or Origin may not reach the service"),
    memory.NotFound: Kind(404, "not-found", "No such thing"),
    memory.ArtifactMissing: Kind(410, "files-missing", "Its files are gone"),
    memory.Conflict: Kind(409, "conflict", "Not in this state"),
    memory.IllegalMove: Kind(409, "illegal-move", "The job's state does not allow it"),
    memory.Fenced: Kind(409, "conflict", "Not in this state"),
    door.PreconditionFailed: Kind(409, "conflict", "Not in this state"),
    serving.NotAcceptable: Kind(406, "not-acceptable", "The answer cannot be written so"),
    door.BodyTooLarge: Kind(413, "too-large", "The body is too large"),
    serving.UnknownFormat: Kind(415, "unknown-format", "A body of this kind is not read here"),
    door.UnknownContentType: Kind(415, "unknown-format", "A body of this kind is not read here"),
    memory.BadName: Kind(422, "refused", "The request cannot be carried out"),
    memory.BadCursor: Kind(422, "refused", "The request cannot be carried out"),
    door.FieldRefused: Kind(422, "refused", "The request cannot be carried out"),
    SpecRefused: Kind(422, "refused", "The request cannot be carried out"),
    UnknownWord: Kind(422, "refused", "The request cannot be carried out"),
    RequestValidationError: Kind(422, "invalid", "The request does not fit its schema"),
    ValidationError: Kind(422, "invalid", "The request does not fit its schema"),
    DataRefused: Kind(422, "data-refused", "The data cannot become a dataset"),
    door.ParseFailed: Kind(422, "data-refused", "The data cannot become a dataset"),
    door.DiagnosisFailed: Kind(422, "diagnosis-failed", "The job cannot be diagnosed within the limits"),
    serving.BadTensor: Kind(422, "bad-rows", "The model cannot take these rows"),
    door.TooManyStreams: Kind(429, "too-many-streams", "Too many event streams", 10),
    door.Busy: Kind(503, "busy", "Too many requests at once", 1),
    serving.DeadlinePassed: Kind(503, "deadline-passed", "The request's own timeout ran out"),
    serving.Overloaded: Kind(503, "overloaded", "Too many rows are waiting", 1),
    memory.Unavailable: Kind(503, "store-unavailable", "The store does not answer", 2),
    memory.SchemaOutdated: Kind(503, "store-unavailable", "The store does not answer", 30),
    memory.NoRoom: Kind(507, "no-room", "Free space is under its floor"),
    BundleDamaged: Kind(500, "model-damaged", "The model's files are damaged"),
}
"""The table; a class that is missing takes its parent's line; what has none is a 500 that names no cause."""

_FRAMEWORK = {
    400: Kind(400, "malformed", "The request cannot be read"),
    404: Kind(404, "not-found", "No such thing"),
    405: Kind(405, "method-not-allowed", "This method is not offered here"),
    413: Kind(413, "too-large", "The body is too large"),
    416: Kind(416, "no-such-range", "There are no such bytes"),
}
PROTOCOL_PATH = "/v2"
# What the Open Inference Protocol calls what the table calls otherwise.
_PROTOCOL_STATUSES = {406: 400, 409: 400, 410: 404, 415: 501, 422: 400, 507: 503}
_UNEXPECTED = Kind(500, "unexpected", "Something went wrong here")
_PLACES = {
    "model's name": "model",
    "dataset's name": "name",
    "label's key": "labels",
    "label's value": "labels",
}
ALL_KINDS = (*KINDS.values(), *_FRAMEWORK.values(), _UNEXPECTED)


class FieldProblem(BaseModel):
    """What is wrong at one place of the request."""

    loc: list[str | int] = Field(description="The path to the field; parts of the query begin with `query`.")
    msg: str


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:hourglass:problem:invalid",
                    "title": "The request does not fit its schema",
                    "status": 422,
                    "detail": "init.orthogonal.gain: Input should be greater than 0",
                    "instance": "/v1/jobs",
                    "request_id": "7f3c0c0b6f0e4e3f9c3d2f5a1b2c3d4e",
                    "errors": [
                        {"loc": ["init", "orthogonal", "gain"], "msg": "Input should be greater than 0"}
                    ],
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path of the request.")
    request_id: str = Field(description="The same as in `X-Request-ID` and in every line of the log.")
    errors: list[FieldProblem] = []


def kind_of(error: Exception) -> Kind:
    """The table's line for an error, or for the nearest of its parents."""
    if isinstance(error, HTTPException):
        fallback = Kind(error.status_code, "refused", "The request was refused")
        return _FRAMEWORK.get(error.status_code, fallback)
    for parent in type(error).__mro__:
        if parent in KINDS:
            return KINDS[parent]
    return _UNEXPECTED


def answer(scope: Scope, error: Exception) -> Response:
    """The answer to an error of the request in `scope`: a problem document, or `/v2`'s own form."""
    kind = kind_of(error)
    found = _field_problems(error)
    headers = _headers(error, kind)
    if is_protocol(scope):
        status = _PROTOCOL_STATUSES.get(kind.status, kind.status)
        if kind.status == 415:
            headers["Accept-Encoding"] = "gzip, deflate"
        told = {"error": _detail(error, kind, found)}
        return Response(orjson.dumps(told), status, headers, "application/json")
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + kind.slug,
        "title": kind.title,
        "status": kind.status,
        "detail": _detail(error, kind, found),
        "instance": scope.get("path", ""),
        "request_id": scope.get("state", {}).get("request_id", ""),
        "errors": [{"loc": list(place), "msg": message} for place, message in found],
    }
    return Response(orjson.dumps(body), kind.status, headers, MEDIA_TYPE)


def is_protocol(scope: Scope) -> bool:
    """Whether a request speaks the Open Inference Protocol, whose errors are `{"error": "…"}` alone."""
    path: str = scope.get("path", "")
    return path.startswith(PROTOCOL_PATH) and path[len(PROTOCOL_PATH) :][:1] in ("", "/")


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""

    def respond(request: Request, error: Exception) -> Response:
        return answer(request.scope, error)

    for error_class in (*KINDS, HTTPException):
        app.add_exception_handler(error_class, respond)
    app.add_exception_handler(ClientDisconnect, respond)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of a route's problems."""
    titles: dict[int, str] = {}
    for kind in ALL_KINDS:
        titles.setdefault(kind.status, kind.title)
    return {
        status: {
            "description": titles[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def _headers(error: Exception, kind: Kind) -> dict[str, str]:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if kind.retry_after_seconds is not None:
        headers["Retry-After"] = str(kind.retry_after_seconds)
    if kind.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="hourglass"'
    return headers


def _detail(error: Exception, kind: Kind, found: Sequence[tuple[tuple[str | int, ...], str]]) -> str:
    if kind is _UNEXPECTED:
        return "an unexpected error; the log has it under this request's id"
    if isinstance(error, BundleDamaged):
        return "the model's files do not hold what their manifest promises; the log has the details"
    if isinstance(error, HTTPException):
        return str(error.detail)
    if isinstance(error, RequestValidationError | ValidationError):
        return "; ".join(f"{'.'.join(str(part) for part in place)}: {message}" for place, message in found)
    return str(error)


def _field_problems(error: Exception) -> list[tuple[tuple[str | int, ...], str]]:
    match error:
        case RequestValidationError() | ValidationError():
            return [(_without_body(item), _message(item)) for item in error.errors()]
        case door.FieldRefused() | SpecRefused():
            return [(tuple(place), message) for place, message in error.problems]
        case _:
            place = _place(error)
            return [] if place is None else [(place, str(getattr(error, "message", None) or error))]


def _place(error: Exception) -> tuple[str | int, ...] | None:
    """Where an error that knows one place points."""
    place: tuple[str | int | None, ...]
    match error:
        case memory.BadCursor():
            place = ("query", "after")
        case memory.BadName():
            place = (_PLACES.get(error.kind, error.kind),)
        case UnknownWord():
            place = (error.family,)
        case serving.BadTensor():
            place = (error.field, error.row, error.column)
        case DataRefused() if error.row is not None or error.column is not None:
            row = ("row", error.row) if error.row is not None else ()
            place = (*row, *(("column", error.column) if error.column is not None else ()))
        case _:
            return None
    return tuple(part for part in place if part is not None)


def _without_body(item: Mapping[str, Any]) -> tuple[str | int, ...]:
    """A body's fields are named by their path in the body; only query, path and header keep their prefix."""
    place = tuple(item["loc"])
    if item.get("type") == "json_invalid":
        return ()
    return place[1:] if place and place[0] == "body" else place


def _message(item: Mapping[str, Any]) -> str:
    if item.get("type") == "json_invalid":
        return f"the body is not JSON: {item.get('ctx', {}).get('error', item['msg'])}"
    return str(item["msg"]).removeprefix("Value error, ")
