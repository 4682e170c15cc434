"""Answers that several routes give alike: with an ETag, or the first answer again to an Idempotency-Key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import orjson
from fastapi import Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from service.auth import Caller
from store import Idempotency, Store, Stored

T = TypeVar("T")


class Listing(BaseModel, Generic[T]):
    """One page of a list, newest first; `next` is the `after` of the page behind it, null on the last."""

    items: list[T]
    next: str | None = None


def dump(document: BaseModel) -> bytes:
    """A wire model as JSON."""
    return orjson.dumps(document.model_dump(mode="python"), default=_plain, option=orjson.OPT_UTC_Z)


def created(document: BaseModel, status: int, location: str, **headers: str) -> Response:
    """A new resource and where it is."""
    return Response(dump(document), status, {"Location": location, **headers}, "application/json")


def tagged(request: Request, document: BaseModel) -> Response:
    """The document with its ETag, or 304 where the caller has it already.

    The tag is made of the bytes themselves: whatever changes in the answer changes it.
    """
    body = dump(document)
    tag = tag_of(body)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if holds(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, "application/json")


def tag_of(body: bytes) -> str:
    """The ETag of these bytes."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def holds(request: Request, tag: str) -> bool:
    """Whether the caller has what the tag stands for, by `If-None-Match`."""
    known = request.headers.get("if-none-match")
    return known is not None and (known.strip() == "*" or tag in _tags(known))


def fingerprint(*parts: bytes | str) -> str:
    """What an Idempotency-Key is bound to."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def identity(caller: Caller) -> str | None:
    """Under which name a caller's idempotency keys are kept."""
    return caller.key


@dataclass(frozen=True)
class Asked:
    """A request that may come again.

    Attributes:
        route: its method and path.
        key: its Idempotency-Key, if it has one.
        body_sha256: the fingerprint of its body.
    """

    route: str
    key: str | None
    body_sha256: str


def once(store: Store, caller: Caller, asked: Asked, make: Callable[[Session], Response]) -> Response:
    """What `make` answers, in one transaction with the key's own row: whole and remembered, or not at all."""
    with store.transaction() as session:
        answers = Idempotency(session)
        if asked.key is not None:
            before = answers.begin(asked.key, identity(caller), asked.route, asked.body_sha256)
            if before is not None:
                return replayed(before)
        response = make(session)
        if asked.key is not None:
            answers.complete(
                asked.key, identity(caller), response.status_code, kept(response), bytes(response.body)
            )
        return response


def repeated(store: Store, caller: Caller, asked: Asked) -> Response | None:
    """The first answer, where there was one; to be asked before what the request needs, which may be gone."""
    if asked.key is None:
        return None
    with store.session() as session:
        before = Idempotency(session).given(asked.key, identity(caller), asked.route, asked.body_sha256)
    return None if before is None else replayed(before)


def kept(response: Response) -> Mapping[str, str]:
    """The headers that a repeated answer needs."""
    return {
        name: value
        for name, value in response.headers.items()
        if name.lower() in {"location", "content-type"}
    }


def replayed(stored: Stored) -> Response:
    """The first answer, given again."""
    return Response(stored.body, stored.status, {**stored.headers, "Idempotent-Replayed": "true"})


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="python")
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in an answer")
